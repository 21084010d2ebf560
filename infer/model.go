package infer

import "detections/media"

// Model describes a network: its input, its labels and how its outputs are read.
// It is static once loaded and shared by all engines of the model.
type Model struct {
	Name    string
	Version string // first 12 hex digits of SHA256, unless the model's source names a version
	SHA256  string // of the ONNX file, lower-case hex
	Labels  []string
	Input   Input
	// Outputs are the names of the outputs in the order in which the head reads them.
	Outputs []string
	Head    Head
}

// Ref is how results name the model: name@version.
func (m *Model) Ref() string { return m.Name + "@" + m.Version }

// Input is the network's image input, float32 [N,3,Height,Width]:
// (v − Mean[c]) / Std[c] for v in 0..255, channels in the order of Format.
type Input struct {
	Name          string
	Width, Height int
	Format        media.PixelFormat
	Fit           media.Fit
	Fill          byte
	Mean, Std     [3]float32
}

// View is what a decoder must deliver for this input.
func (in Input) View() media.View {
	return media.View{Width: in.Width, Height: in.Height, Format: in.Format, Fit: in.Fit, Fill: in.Fill}
}

// Size is the number of float32 values of one image in the input tensor.
func (in Input) Size() int { return 3 * in.Width * in.Height }

// Label is the name of a class, or "" if the model has none for it.
func (m *Model) Label(class int) string {
	if class < 0 || class >= len(m.Labels) {
		return ""
	}
	return m.Labels[class]
}

package infer

import "detections/media"

// Model describes a network: its input, its labels and how its outputs are read.
// It is static once loaded and shared by all engines of the model.
type Model struct {
	Name    string
	Version string // first 12 hex digits of SHA256, unless the model's source names a version
	SHA256  string // of the ONNX file, lower-case hex
	// Description is 12 hex digits that stand for what overrides the file: the beginning
	// of the SHA-256 of its description, or of that and what of classes.json changes
	// results; empty: nothing does.
	Description string
	Labels      []string
	// Colors are those of the classes, #rrggbb or empty; nil: there are none.
	Colors []string
	// Thresholds are the lowest confidences of the classes, for sessions that ask for
	// none; nil: DefaultThreshold.
	Thresholds []float32
	Input      Input
	// Batch is how many images a run must have; 0: as many as one likes.
	Batch int
	// Outputs are in the order in which the head reads them. All dimensions but the
	// first, the number of images, are known.
	Outputs []Tensor
	Head    Head
	// Family is the name of the head, such as yolov8.
	Family string
	// Single says that the network gives each object once, so that NMS is left out.
	Single bool
}

// Ref is how results name the model: name@version.
func (m *Model) Ref() string { return m.Name + "@" + m.Version }

// Type is how the values of an input are stored.
type Type uint8

// The types of inputs.
const (
	Float32 Type = iota
	Float16
	Uint8
)

// Size is the number of bytes of a value.
func (t Type) Size() int { return [...]int{4, 2, 1}[t] }

// String is the name of the type.
func (t Type) String() string { return [...]string{"float32", "float16", "uint8"}[t] }

// Layout is the order of an input's values.
type Layout uint8

// The layouts of inputs.
const (
	NCHW Layout = iota // a plane for each channel
	NHWC               // the channels of a pixel beside each other
)

// String is the name of the layout.
func (l Layout) String() string { return [...]string{"nchw", "nhwc"}[l] }

// Input is the network's image input, [N,3,Height,Width] or [N,Height,Width,3]:
// (v − Mean[c]) / Std[c] for v in 0..255, channels in the order of Format.
type Input struct {
	Name          string
	Width, Height int
	Type          Type
	Layout        Layout
	Format        media.PixelFormat
	Fit           media.Fit
	Fill          byte
	Mean, Std     [3]float32
}

// View is what a decoder must deliver for this input.
func (in Input) View() media.View {
	return media.View{Width: in.Width, Height: in.Height, Format: in.Format, Fit: in.Fit, Fill: in.Fill}
}

// Size is the number of values of one image in the input tensor.
func (in Input) Size() int { return 3 * in.Width * in.Height }

// Bytes is the number of bytes of one image in the input tensor.
func (in Input) Bytes() int { return in.Size() * in.Type.Size() }

// Shape is the shape of the input tensor for n images.
func (in Input) Shape(n int) []int64 {
	if in.Layout == NHWC {
		return []int64{int64(n), int64(in.Height), int64(in.Width), 3}
	}
	return []int64{int64(n), 3, int64(in.Height), int64(in.Width)}
}

// Label is the name of a class, or "" if the model has none for it.
func (m *Model) Label(class int) string {
	if class < 0 || class >= len(m.Labels) {
		return ""
	}
	return m.Labels[class]
}

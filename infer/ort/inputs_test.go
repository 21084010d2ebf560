//go:build cgo

package ort

import (
	"fmt"
	"strings"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

// seer is a network whose scores are the mean of each channel of its input, with a
// box to each.
func seer(in infer.Tensor, scores string) infertest.Graph {
	s := float("scores", make([]float32, 3), 1, 3)
	s.Colors, s.Type = true, scores
	g := infertest.Fixed(in, s, float("boxes", []float32{8, 8, 56, 56}, 1, 4))
	g.Metadata = map[string]string{"names": "first,second,third"}
	return g
}

// inputs are all kinds of inputs of pictures.
func inputs() []infer.Tensor {
	var all []infer.Tensor
	for _, typ := range []string{"float32", "float16", "uint8"} {
		for _, shape := range [][]int64{{0, 3, 64, 64}, {0, 64, 64, 3}, {4, 3, 64, 64}, {2, 64, 64, 3}, {0, 3, 0, 0}, {0, 0, 0, 3}} {
			all = append(all, infer.Tensor{Name: "images", Type: typ, Shape: shape})
		}
	}
	return all
}

// describedSeer makes the scores of a seer lie between 0 and 1.
func describedSeer(t *testing.T, in infer.Tensor, color, scores string) infer.Engine {
	t.Helper()
	g := seer(in, scores)
	std, size := "[255, 255, 255]", ""
	if in.Type == "uint8" { // bytes as they are: the network divides
		std = "[1, 1, 1]"
		g.Nodes[0].Out[0] = "raw"
		g.Constants = append(g.Constants, infertest.Constant{Name: "255", Shape: []int64{1}, Floats: []float32{255}})
		g.Nodes = append(g.Nodes[:1:1], append([]infertest.Node{{Op: "Div", In: []string{"raw", "255"}, Out: []string{"floats"}}}, g.Nodes[1:]...)...)
	}
	if in.Shape[2] < 1 {
		size = `"width": 64, "height": 48, `
	}
	return openGraph(t, g, fmt.Sprintf(`{"input": {%s"color": %q, "mean": [0, 0, 0], "std": %s}}`, size, color, std))
}

// Every kind of input passes the suite of engines.
func TestEnginesOfAllInputs(t *testing.T) {
	for _, in := range inputs() {
		t.Run(in.String(), func(t *testing.T) { infertest.TestEngine(t, describedSeer(t, in, "rgb", "float32")) })
	}
}

// A picture of one colour arrives in the right channels with the right values.
func TestPixelsArriveInEveryTypeLayoutAndOrder(t *testing.T) {
	want := []float32{51. / 255, 102. / 255, 204. / 255} // as the view has them, in the order of its format
	for _, in := range inputs() {
		for _, scores := range []string{"float32", "float16", "float64"} {
			e := describedSeer(t, in, "bgr", scores)
			input := e.Model().Input
			pix := make([]byte, input.View().Size())
			for i := range pix {
				pix[i] = []byte{51, 102, 204}[i%3]
			}
			pixels := infer.NewNormalizer(input)
			for i := range e.MaxBatch() {
				pixels.Convert(e.Input(i), pix)
			}
			if err := e.Run(e.MaxBatch()); err != nil {
				t.Fatal(err)
			}
			for i := range e.MaxBatch() {
				for c, v := range e.Output(0, i) {
					if !near(float64(v), float64(want[c]), 1e-3) {
						t.Errorf("%v, scores of %s, image %d: channel %d is %v, want %v", in, scores, i, c, v, want[c])
					}
				}
			}
		}
	}
}

// A network of open size runs in the size of the description, or of its metadata.
func TestAnOpenSizeIsSettled(t *testing.T) {
	// Scores are the colours of cells of 8, 16 and 32 pixels, and so are boxes, in 255ths.
	g := infertest.Graph{
		Inputs:    []infer.Tensor{{Name: "images", Type: "float32", Shape: []int64{0, 3, 0, 0}}},
		Outputs:   []infer.Tensor{{Name: "output0", Type: "float32", Shape: []int64{0, 0, 0}}},
		Constants: []infertest.Constant{{Name: "flat", Shape: []int64{3}, Ints: []int64{0, 3, -1}}, {Name: "255", Shape: []int64{1}, Floats: []float32{255}}},
		Metadata:  map[string]string{"names": "{0: 'red', 1: 'green'}", "imgsz": "[96, 64]"},
	}
	var levels []string
	for _, s := range []int{8, 16, 32} {
		pool, flat := fmt.Sprint("pool", s), fmt.Sprint("flat", s)
		g.Nodes = append(g.Nodes, infertest.Node{Op: "AveragePool", In: []string{"images"}, Out: []string{pool}, Attrs: map[string]any{"kernel_shape": []int{s, s}, "strides": []int{s, s}}},
			infertest.Node{Op: "Reshape", In: []string{pool, "flat"}, Out: []string{flat}})
		levels = append(levels, flat)
	}
	g.Nodes = append(g.Nodes, infertest.Node{Op: "Concat", In: levels, Out: []string{"colors"}, Attrs: map[string]any{"axis": 2}},
		infertest.Node{Op: "Mul", In: []string{"colors", "255"}, Out: []string{"boxes"}},
		infertest.Node{Op: "Concat", In: []string{"boxes", "colors"}, Out: []string{"output0"}, Attrs: map[string]any{"axis": 1}})
	for description, want := range map[string][3]int{"": {64, 96, 126}, `{"input": {"width": 128, "height": 32}}`: {128, 32, 84}} {
		e := openGraph(t, g, description)
		m := e.Model()
		if m.Family != "yolov8" || m.Input.Width != want[0] || m.Input.Height != want[1] || m.Outputs[0].Shape[2] != int64(want[2]) {
			t.Errorf("%q: %s of %d×%d with %v, want %v", description, m.Family, m.Input.Width, m.Input.Height, m.Outputs, want)
		}
	}
	g.Metadata["imgsz"] = ""
	if _, err := describeGraph(g, ""); err == nil || !strings.Contains(err.Error(), "leaves its size open, expected input.width and input.height") {
		t.Errorf("err = %v", err)
	}
}

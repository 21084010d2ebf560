//go:build cgo

package ort

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

// at are n values of zero, but for those that are given by index.
func at(n int, some map[int][]float32) []float32 {
	v := make([]float32, n)
	for i, values := range some {
		copy(v[i:], values)
	}
	return v
}

func float(name string, values []float32, shape ...int64) infertest.Output {
	return infertest.Output{Tensor: infer.Tensor{Name: name, Type: "float32", Shape: append([]int64{0}, shape...)}, Values: values}
}

func images(side int64) infer.Tensor {
	return infer.Tensor{Name: "images", Type: "float32", Shape: []int64{0, 3, side, side}}
}

// sure are the logits of a distance that is k for certain, or equally likely i and k.
func sure(i, k int) []float32 {
	v := make([]float32, 8)
	v[i], v[k] = 40, 40
	return v
}

func concat(all ...[]float32) (sum []float32) {
	for _, v := range all {
		sum = append(sum, v...)
	}
	return sum
}

var (
	ln2 = float32(math.Log(2))
	ln3 = float32(math.Log(3))
	ln9 = float32(math.Log(9))
)

const two = "cat,dog"

// families are networks with one object each, in a picture of 64×64 (8×8, 4×4 and 2×2
// cells of 8, 16 and 32 pixels: 84) unless said otherwise. What must be found is
// worked out beside each.
var families = []struct {
	name, family string
	graph        infertest.Graph
	names        string // metadata
	description  string
	want         infer.Candidate
}{
	{
		name: "NanoDet, decoded", family: "nanodet", names: two,
		graph: infertest.Fixed(images(64), float("boxes", at(84*4, map[int][]float32{5 * 4: {10, 20, 30, 40}}), 84, 4),
			float("scores", at(84*2, map[int][]float32{5*2 + 1: {0.9}}), 84, 2)),
		want: infer.Candidate{X1: 10, Y1: 20, X2: 30, Y2: 40, Score: 0.9, Class: 1},
	},
	{
		// Cell 10 is the third of the second row: its middle is 20, 12. Distances 1, ½, 2
		// and 3 strides.
		name: "NanoDet, raw", family: "nanodet-gfl", names: two,
		graph: infertest.Fixed(images(64), float("output", at(84*34, map[int][]float32{
			10 * 34: concat([]float32{0, 0.8}, sure(1, 1), sure(0, 1), sure(2, 2), sure(3, 3)),
		}), 84, 34)),
		want: infer.Candidate{X1: 12, Y1: 8, X2: 36, Y2: 36, Score: 0.8, Class: 1},
	},
	{
		// Four levels: points at the corners of cells. Cell 64+6 is the third of the
		// second row of those of 16 pixels: 32, 16. Distances 1, ½, 1½ and 2 strides.
		name: "NanoDet-Plus, raw", family: "nanodet-gfl", names: two,
		graph: infertest.Fixed(images(64), float("output", at(85*34, map[int][]float32{
			70 * 34: concat([]float32{0.7, 0}, sure(1, 1), sure(0, 1), sure(1, 2), sure(2, 2)),
		}), 85, 34)),
		want: infer.Candidate{X1: 16, Y1: 8, X2: 56, Y2: 48, Score: 0.7},
	},
	{
		name: "YOLOv5", family: "yolov5", names: "{0: 'cat', 1: \"dog's\"}", // 0.8 · 0.75
		graph: infertest.Fixed(images(64), float("output0", at(252*7, map[int][]float32{100 * 7: {32, 24, 20, 10, 0.8, 0.5, 0.75}}), 252, 7)),
		want:  infer.Candidate{X1: 22, Y1: 19, X2: 42, Y2: 29, Score: 0.6, Class: 1},
	},
	{
		name: "YOLOv8", family: "yolov8", names: "{0: 'cat', 1: 'dog'}",
		graph: infertest.Fixed(images(64), float("output0", at(6*84, map[int][]float32{
			7: {32}, 84 + 7: {24}, 2*84 + 7: {20}, 3*84 + 7: {10}, 4*84 + 7: {0.3}, 5*84 + 7: {0.7},
		}), 6, 84)),
		want: infer.Candidate{X1: 22, Y1: 19, X2: 42, Y2: 29, Score: 0.7, Class: 1},
	},
	{
		name: "YOLOv10", family: "yolov10", names: "{0: 'cat', 1: 'dog', 2: 'cow'}",
		graph: infertest.Fixed(images(64), float("output0", at(300*6, map[int][]float32{0: {5, 6, 50, 60, 0.9, 2}}), 300, 6)),
		want:  infer.Candidate{X1: 5, Y1: 6, X2: 50, Y2: 60, Score: 0.9, Class: 2},
	},
	{
		// Cell 64+6 is at 2, 1 of those of 16 pixels: centre 24, 20; e^ln2 · 16 wide, e^0 · 16 high.
		name: "YOLOX", family: "yolox", description: `{"labels": ["cat", "dog"]}`,
		graph: infertest.Fixed(images(64), float("output", at(84*7, map[int][]float32{70 * 7: {-0.5, 0.25, ln2, 0, 0.5, 0.9, 0.1}}), 84, 7)),
		want:  infer.Candidate{X1: 8, Y1: 12, X2: 40, Y2: 28, Score: 0.45},
	},
	{
		name: "RT-DETR, D-FINE", family: "rt-detr", names: two, // the sigmoid of ln 3 is ¾
		graph: infertest.Fixed(images(64), float("logits", at(300*2, map[int][]float32{0: logits(300*2, 5, ln3)}), 300, 2),
			float("pred_boxes", at(300*4, map[int][]float32{2 * 4: {0.5, 0.5, 0.25, 0.5}}), 300, 4)),
		want: infer.Candidate{X1: 24, Y1: 16, X2: 40, Y2: 48, Score: 0.75, Class: 1},
	},
	{
		name: "RT-DETR of Ultralytics", family: "rt-detr-rows", names: "{0: 'cat', 1: 'dog', 2: 'cow'}",
		graph: infertest.Fixed(images(64), float("output0", at(300*7, map[int][]float32{9 * 7: {0.5, 0.5, 0.25, 0.5, 0, 0, 0.75}}), 300, 7)),
		want:  infer.Candidate{X1: 24, Y1: 16, X2: 40, Y2: 48, Score: 0.75, Class: 2},
	},
	{
		name: "RF-DETR", family: "rf-detr", names: two, // the sigmoid of ln 9 is 0.9
		graph: infertest.Fixed(images(64), float("dets", at(300*4, map[int][]float32{0: {0.25, 0.75, 0.5, 0.25}}), 300, 4),
			float("labels", logits(300*2, 0, ln9), 300, 2)),
		want: infer.Candidate{X1: 0, Y1: 40, X2: 32, Y2: 56, Score: 0.9},
	},
	{
		// y1 x1 y2 x2; classes from 1; the second is not counted.
		name: "SSD of TensorFlow", family: "ssd", names: two,
		graph: infertest.Fixed(images(64), float("detection_boxes", []float32{0.25, 0.5, 0.75, 1, 0, 0, 1, 1}, 2, 4), float("detection_classes", []float32{2, 1}, 2),
			float("detection_scores", []float32{0.8, 0.99}, 2), float("num_detections", []float32{1})),
		want: infer.Candidate{X1: 32, Y1: 16, X2: 64, Y2: 48, Score: 0.8, Class: 1},
	},
	{
		name: "labels, boxes and scores", family: "ssd", names: two,
		graph: infertest.Fixed(images(64), infertest.Output{Tensor: infer.Tensor{Name: "labels", Type: "int64", Shape: []int64{0, 2}}, Values: []float32{1, 0}},
			float("boxes", []float32{3, 4, 30, 40, 0, 0, 0, 0}, 2, 4), float("scores", []float32{0.8, 0}, 2)),
		want: infer.Candidate{X1: 3, Y1: 4, X2: 30, Y2: 40, Score: 0.8, Class: 1},
	},
	{
		name: "CenterNet", family: "centernet", names: two, // cells of 4 pixels
		graph: infertest.Fixed(images(64), float("centernet_dets", at(100*6, map[int][]float32{0: {1, 2, 7.5, 10, 0.6, 1}}), 100, 6)),
		want:  infer.Candidate{X1: 4, Y1: 8, X2: 30, Y2: 40, Score: 0.6, Class: 1},
	},
	{
		// 128×128: anchor 36 is the first of two in the third cell of the second row of
		// 8 pixels: 20, 12.
		name: "MediaPipe's faces", family: "mediapipe", names: "face",
		graph: infertest.Fixed(images(128), float("regressors", at(896*16, map[int][]float32{36 * 16: {4, -4, 32, 16, 99, 99}}), 896, 16),
			float("classificators", logits(896, 36, ln9), 896, 1)),
		want: infer.Candidate{X1: 8, Y1: 0, X2: 40, Y2: 16, Score: 0.9},
	},
	{
		// The same with anchors of the description; e^0 / (e^0 + e^-ln3) = ¾.
		name: "anchors and softmax of the description", family: "mediapipe",
		description: `{"labels": ["face"], "head": "mediapipe", "output": {"names": ["s", "b"], "anchors": [[0.5, 0.5, 1, 1], [0.25, 0.25, 0.5, 0.5]], "scores": "softmax", "background": "first"}}`,
		graph:       infertest.Fixed(images(64), float("s", []float32{9, -9, -ln3, 0}, 2, 2), float("b", []float32{0, 0, 0, 0, 8, 0, 32, 64}, 2, 4)),
		want:        infer.Candidate{X1: 12, Y1: 0, X2: 28, Y2: 32, Score: 0.75},
	},
	{
		name: "an old SSD: softmax and corners as fractions", family: "nanodet",
		description: `{"labels": ["face"], "output": {"scores": "softmax", "background": "last", "units": "normalised"}}`,
		graph:       infertest.Fixed(images(64), float("scores", []float32{0, ln3, ln3, 0}, 2, 2), float("boxes", []float32{0, 0, 1, 1, 0.25, 0.5, 0.5, 0.75}, 2, 4)),
		want:        infer.Candidate{X1: 16, Y1: 32, X2: 32, Y2: 48, Score: 0.75},
	},
}

// logits are n of −9, and one other.
func logits(n, i int, v float32) []float32 {
	all := make([]float32, n)
	for k := range all {
		all[k] = -9
	}
	all[i] = v
	return all
}

func TestFamiliesFindWhatTheirNetworksMean(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			if f.names != "" {
				f.graph.Metadata = map[string]string{"names": f.names}
			}
			keepGraph(t, f.graph, f.description)
			e := openGraph(t, f.graph, f.description)
			if got := e.Model().Family; got != f.family {
				t.Errorf("recognised as %s, want %s", got, f.family)
			}
			if err := e.Run(2); err != nil {
				t.Fatal(err)
			}
			var post infer.Postprocessor
			d, place := &infer.Detect{Threshold: 0.5 * f.want.Score, IoU: 0.5}, e.Model().Input.View().Place(100, 80)
			if n := testing.AllocsPerRun(2, func() { _ = e.Run(2); post.Detect(e, 1, d, place) }); n != 0 && !sanitized {
				t.Errorf("a frame allocates %v times", n)
			}
			for i := range 2 {
				got := e.Model().Head.Decode(e, i, 0.5*f.want.Score, nil)
				if len(got) != 1 || !alike(got[0], f.want) {
					t.Errorf("image %d: found %+v, want %+v", i, got, f.want)
				}
				if got := e.Model().Head.Decode(e, i, min(1, f.want.Score+0.01), nil); len(got) != 0 {
					t.Errorf("image %d: above the threshold %+v", i, got)
				}
			}
		})
	}
}

// keepGraph writes the network for who wants to look at it: go test -artifacts, and then
// detections model inspect.
func keepGraph(t *testing.T, g infertest.Graph, description string) {
	t.Helper()
	for ext, text := range map[string][]byte{"onnx": g.Bytes(), "json": []byte(description)} {
		if len(text) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "model."+ext), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func alike(a, b infer.Candidate) bool {
	ok := a.Class == b.Class && near(float64(a.Score), float64(b.Score), 1e-6)
	for _, v := range [][2]float32{{a.X1, b.X1}, {a.Y1, b.Y1}, {a.X2, b.X2}, {a.Y2, b.Y2}} {
		ok = ok && near(float64(v[0]), float64(v[1]), 1e-4)
	}
	return ok
}

// openGraph opens a generated model; the test closes it at its end.
func openGraph(t testing.TB, g infertest.Graph, description string) infer.Engine {
	t.Helper()
	m, err := describeGraph(g, description)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(g.Bytes(), m, Options{Providers: []string{"cpu"}, MaxBatch: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func describeGraph(g infertest.Graph, description string) (*infer.Model, error) {
	var d *infer.Description
	if description != "" {
		var err error
		if d, err = infer.ParseDescription([]byte(description)); err != nil {
			return nil, err
		}
	}
	return Describe(g.Bytes(), d)
}

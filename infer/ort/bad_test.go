//go:build cgo

package ort

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

// Whatever is wrong with a model is one clear sentence, and never a crash.
func TestBadModelsAreExplained(t *testing.T) {
	good := func() infertest.Graph {
		g := infertest.Fixed(images(64), float("scores", make([]float32, 168), 84, 2), float("boxes", at(336, map[int][]float32{0: {1, 2, 30, 40}}), 84, 4))
		g.Metadata = map[string]string{"names": two}
		return g
	}
	file := good().Bytes()
	for name, c := range map[string]struct {
		file        []byte
		change      func(*infertest.Graph)
		description string
		want        string
	}{
		"empty":         {file: []byte{}, want: "the file is empty, expected an ONNX model"},
		"not a model":   {file: []byte("some words that are none"), want: "expected an ONNX model, found something else, of 24 bytes"},
		"a page":        {file: []byte("<html>not found</html>"), want: "found a page of HTML"},
		"a checkpoint":  {file: []byte("PK\x03\x04yolov8n/data.pkl"), want: "found a zip archive (a PyTorch checkpoint?)"},
		"truncated":     {file: file[:len(file)/2], want: "found one that is truncated or damaged"},
		"a bit of it":   {file: file[:9], want: "expected an ONNX model"},
		"damaged":       {file: bytes.ReplaceAll(file, []byte("Cast"), []byte("Cust")), want: "it needs operators that ONNX Runtime does not have, expected standard ones"},
		"opset too new": {change: func(g *infertest.Graph) { g.Opset = 99 }, want: "it is of opset 99, expected at most "},
		"custom op":     {change: func(g *infertest.Graph) { g.Nodes[0].Domain, g.Nodes[0].Op = "com.example", "Magic" }, want: "operators that ONNX Runtime does not have"},
		"no head":       {change: func(g *infertest.Graph) { *g = infertest.Fixed(images(64), float("heat", make([]float32, 12), 3, 4)) }, want: "no head reads output heat float32 [N,3,4] of a picture of 64×64; expected one of:"},
		"zero classes": {change: func(g *infertest.Graph) {
			*g = infertest.Fixed(images(64), float("output0", make([]float32, 336), 4, 84))
		}, description: `{"head": "yolov8"}`, want: "output output0 float32 [N,4,84] has room for 0 classes, expected at least 1"},
		"labels":         {change: func(g *infertest.Graph) { g.Metadata["names"] = "cat,dog,cow" }, want: "output scores float32 [N,84,2] has 2 classes, but the metadata names 3"},
		"other labels":   {description: `{"labels": ["cat"]}`, want: "has 2 classes, but the description names 1"},
		"names":          {change: func(g *infertest.Graph) { g.Metadata["names"] = "{0: 'cat', 2: 'dog'}" }, want: "expected a,b,c or {0: 'a', 1: 'b'}, numbered from 0"},
		"another size":   {description: `{"input": {"width": 320}}`, want: "input images float32 [N,3,64,64] has width 64, the description says 320"},
		"another head":   {description: `{"head": "yolox", "output": {"names": ["scores"]}}`, want: ""},
		"another grid":   {change: func(g *infertest.Graph) { *g = infertest.Fixed(images(64), float("o", make([]float32, 700), 100, 7)) }, description: `{"head": "yolox"}`, want: "output o float32 [N,100,7] has 100 anchors, expected 84 for a picture of 64×64 with strides [8 16 32]"},
		"missing output": {description: `{"head": "rt-detr", "output": {"names": ["logits", "boxes"]}}`, want: `rt-detr reads 2 outputs (logits|pred_logits, pred_boxes|boxes), the description names ["logits" "boxes"]`},
		"no such use":    {description: `{"output": {"bins": 8}}`, want: "nanodet: the description sets output.bins, which this head does not have"},
		"two inputs": {change: func(g *infertest.Graph) {
			g.Inputs = append(g.Inputs, infer.Tensor{Name: "orig_target_sizes", Type: "int64", Shape: []int64{0, 2}})
		}, want: "expected one input, of pictures [N,3,H,W] or [N,H,W,3]; orig_target_sizes int64 [N,2] cannot be filled"},
		"huge batches":  {change: func(g *infertest.Graph) { g.Inputs[0].Shape[0] = 1 << 40 }, want: "takes 1099511627776 pictures a run, expected at most 256"},
		"huge pictures": {change: func(g *infertest.Graph) { g.Inputs[0].Shape[3] = 1 << 40 }, want: "width 2147483647, expected at most 4096"},
		"grey pictures": {change: func(g *infertest.Graph) { g.Inputs[0].Shape = []int64{0, 1, 64, 64} }, want: "input images float32 [N,1,64,64] has 1 channels, expected 3"},
		"a list without labels": {
			change: func(g *infertest.Graph) { *g = infertest.Fixed(images(64), float("o", make([]float32, 600), 100, 6)) },
			want:   "yolov10: such a network does not tell how many classes there are, expected labels in the description",
		},
		"NaN":            {change: func(g *infertest.Graph) { g.Constants[2+1].Floats[5] = float32(math.NaN()) }, want: "output scores has values that are not numbers (NaN)"},
		"logits":         {change: func(g *infertest.Graph) { g.Constants[2+1].Floats[5] = -7 }, want: `the scores in output scores reach from -7 to 0, expected 0 to 1; if sigmoid or softmax`},
		"fractions":      {change: func(g *infertest.Graph) { copy(g.Constants[2+3].Floats, []float32{0.1, 0.2, 0.5, 1}) }, want: `the boxes in output boxes reach from 0 to 1, expected pixels of the input; if they are fractions of its sides, say "units": "normalised"`},
		"pixels":         {description: `{"output": {"units": "normalised"}}`, want: `the boxes in output boxes reach from 0 to 40, expected fractions of the input's sides; if they are pixels, say "units": "pixels"`},
		"opset too old":  {change: func(g *infertest.Graph) { g.Opset = 6 }, want: "it is of opset 6, expected at least 7: "},
		"format too new": {file: append([]byte{8, 99}, file[2:]...), want: "it is in version 99 of ONNX's format, expected at most "},
		"weights elsewhere": {
			change: func(g *infertest.Graph) { g.Constants[3].External = "../../etc/weights.bin" },
			want:   `tensor "scores.values" has its values in the file "../../etc/weights.bin", expected a model of one file: export it with its weights inside`,
		},
		"weights elsewhere, within": {change: func(g *infertest.Graph) {
			c := infertest.Constant{Name: "", Shape: []int64{1}, Floats: []float32{0}, External: "/dev/zero"}
			g.Nodes = append(g.Nodes, infertest.Node{Op: "Constant", Out: []string{"c"}, Attrs: map[string]any{"value": c}})
		}, want: `has its values in the file "/dev/zero"`},
		"NaN weights":                     {change: func(g *infertest.Graph) { g.Constants[0].Floats[0] = float32(math.NaN()) }, want: "output scores has values that are not numbers (NaN), expected none: the weights are damaged"},
		"too few weights":                 {change: func(g *infertest.Graph) { g.Constants[3].Shape[1] = 1 << 40 }, want: "ONNX Runtime does not load it: ValidateEmbeddedTensorProtoDataSizeAndShape Initializer 'scores.values' declares a size of 8796093022208 bytes"},
		"more memory than there is":       {change: func(g *infertest.Graph) { needs(g, 1<<46) }, want: "it needs more memory than there is: 281474976710656 bytes for one value"},
		"more memory than can be counted": {change: func(g *infertest.Graph) { needs(g, 1<<62) }, want: "it needs more memory than there is"},
		"a class too many": {change: func(g *infertest.Graph) {
			*g = infertest.Fixed(images(64), float("o", at(600, map[int][]float32{0: {1, 2, 30, 40, 0.9, 7}}), 100, 6))
		}, description: `{"labels": ["cat", "dog"]}`, want: "output o names class 7, expected 0 to 1, for which there are labels"},
	} {
		t.Run(name, func(t *testing.T) {
			b := c.file
			if b == nil {
				g := good()
				if c.change != nil {
					c.change(&g)
				}
				b = g.Bytes()
			}
			err := load(t, b, c.description)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v\nwant %q", err, c.want)
			}
		})
	}
}

// needs makes the graph need so many float32 on the way. More than fit into a process's
// addresses are refused anywhere; less may be granted, and written to, until there is no more.
func needs(g *infertest.Graph, n int64) {
	for i := range g.Nodes {
		if g.Nodes[i].Out[0] == "none" {
			g.Nodes[i].Out[0] = "less"
		}
	}
	g.Constants = append(g.Constants, infertest.Constant{Name: "huge.shape", Shape: []int64{1}, Ints: []int64{n}}, infertest.Constant{Name: "axes", Shape: []int64{1}, Ints: []int64{0}})
	g.Nodes = append(g.Nodes,
		infertest.Node{Op: "ConstantOfShape", In: []string{"huge.shape"}, Out: []string{"huge"}},
		infertest.Node{Op: "ReduceSum", In: []string{"huge", "axes"}, Out: []string{"sum"}},
		infertest.Node{Op: "Add", In: []string{"less", "sum"}, Out: []string{"none"}})
}

// load describes and opens a model, and says what went wrong.
func load(t *testing.T, b []byte, description string) error {
	t.Helper()
	var d *infer.Description
	if description != "" {
		d = must(infer.ParseDescription([]byte(description)))
	}
	m, err := Describe(b, d)
	if err != nil {
		return err
	}
	e, err := Open(b, m, Options{Providers: []string{"cpu"}})
	if err != nil {
		return err
	}
	return e.Close()
}

// Every beginning of a file, and every file with a damaged byte, is an error or a
// model; the program lives on.
func TestDamagedModelsDoNotCrash(t *testing.T) {
	g := infertest.Fixed(images(64), float("output0", make([]float32, 6*84), 6, 84))
	file := g.Bytes()
	for n := 0; n < len(file); n += 1 + n/64 {
		if err := load(t, file[:n], ""); err == nil {
			t.Errorf("%d of %d bytes are a model", n, len(file))
		}
	}
	for i := 0; i < 700; i += 3 {
		damaged := bytes.Clone(file)
		damaged[i] ^= 0x55
		_ = load(t, damaged, "")
	}
}

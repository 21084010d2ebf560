//go:build cgo

package ort

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// Describe reads from an ONNX file what the rest of the program needs to know about
// it; what d says, which may be nil, wins. Whoever knows a better name or version of
// the model sets it before Open. Init must have succeeded.
func Describe(model []byte, d *infer.Description) (*infer.Model, error) {
	return DescribeWith(Normal, model, d)
}

// DescribeWith is Describe with another priority.
func DescribeWith(p Priority, model []byte, d *infer.Description) (*infer.Model, error) {
	procs.enter()
	defer procs.leave()
	do := p.how()
	f, err := inspect(model, do)
	if err != nil {
		return nil, err
	}
	if err := settle(f, model, d, do); err != nil {
		return nil, fmt.Errorf("describe model: %w", err)
	}
	m, err := infer.Describe(f, d)
	if err != nil {
		return nil, fmt.Errorf("describe model: %w; found %s", err, f)
	}
	m.SHA256 = infer.SHA256(model)
	m.Version = cmp.Or(m.Version, m.SHA256[:12])
	return m, nil
}

// Inspect reads what an ONNX file says about itself. Init must have succeeded.
func Inspect(model []byte) (*infer.Facts, error) { return inspect(model, Normal.how()) }

func inspect(model []byte, do how) (*infer.Facts, error) {
	g, err := look(model)
	switch {
	case g.external != "":
		// ONNX Runtime would look for it in the working directory, and read what it finds.
		return nil, fmt.Errorf("read model: tensor %s, expected a model of one file: export it with its weights inside", g.external)
	case err != nil && len(model) > 0:
		return nil, fmt.Errorf("read model: expected an ONNX model, found %s", looksLike(model))
	}
	var inputs, outputs []onnx.InputOutputInfo
	var s *onnx.DynamicAdvancedSession
	err = do(func() (err error) {
		if inputs, outputs, err = onnx.GetInputOutputInfoWithONNXData(model); err != nil {
			return err
		}
		// The binding reads metadata either from a session made for it alone, fully
		// optimised with all threads, or from one of ours, which takes a third of the time.
		s, err = newSession(model, nil, sessionOptions{threads: 1, optimise: false})
		return err
	})
	if err != nil {
		return nil, explain(err, model)
	}
	defer destroy(s)
	f := &infer.Facts{Metadata: map[string]string{}, Inputs: tensors(inputs), Outputs: tensors(outputs)}
	meta, err := s.GetModelMetadata()
	if err != nil {
		return nil, err
	}
	defer destroy(meta)
	if f.Name, err = meta.GetGraphName(); err != nil {
		return nil, err
	}
	keys, err := meta.GetCustomMetadataMapKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if f.Metadata[k], _, err = meta.LookupCustomMetadataMap(k); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func tensors(all []onnx.InputOutputInfo) []infer.Tensor {
	var list []infer.Tensor
	for _, v := range all {
		list = append(list, infer.Tensor{Name: v.Name, Type: typeName(v), Shape: v.Dimensions})
	}
	return list
}

// settle runs a picture of zeros if the file leaves the sizes of outputs open, to
// learn them.
func settle(f *infer.Facts, model []byte, d *infer.Description, do how) error {
	var open []int
	for i, t := range f.Outputs {
		if slices.ContainsFunc(t.Shape[min(1, len(t.Shape)):], func(n int64) bool { return n < 1 }) {
			open = append(open, i)
		}
	}
	if open == nil {
		return nil
	}
	in, batch, err := infer.Picture(f, d)
	if err != nil {
		return fmt.Errorf("%w; found %s", err, f)
	}
	m := &infer.Model{Input: in}
	for _, i := range open {
		if f.Outputs[i].Type == "float16" { // the binding cannot receive those
			return fmt.Errorf("output %s leaves its size open, expected a known one for float16", f.Outputs[i])
		}
		m.Outputs = append(m.Outputs, f.Outputs[i])
	}
	var shapes [][]int64
	if err := do(func() (err error) {
		shapes, err = shapesOf(model, m, max(1, batch))
		return err
	}); err != nil {
		return fmt.Errorf("run a picture of %d×%d: %w", in.Width, in.Height, err)
	}
	for k, i := range open {
		if t := &f.Outputs[i]; len(shapes[k]) == len(t.Shape) && len(t.Shape) > 0 {
			shapes[k][0] = t.Shape[0]
			t.Shape = shapes[k]
		}
	}
	return nil
}

// shapesOf runs pictures of zeros and tells the shapes of the outputs.
func shapesOf(model []byte, m *infer.Model, n int) ([][]int64, error) {
	s, err := newSession(model, m, sessionOptions{threads: 1, optimise: true})
	if err != nil {
		return nil, err
	}
	defer destroy(s)
	zeros, err := allocate(n * m.Input.Bytes())
	if err != nil {
		return nil, err
	}
	defer zeros.free()
	in, err := inputTensor(m.Input, n, zeros)
	if err != nil {
		return nil, err
	}
	defer destroy(in)
	outputs := make([]onnx.Value, len(m.Outputs))
	defer func() {
		for _, o := range outputs {
			if o != nil {
				destroy(o)
			}
		}
	}()
	if err := s.Run([]onnx.Value{in}, outputs); err != nil {
		return nil, err
	}
	shapes := make([][]int64, len(outputs))
	for k, o := range outputs {
		shapes[k] = o.GetShape()
	}
	return shapes, nil
}

// noise are the words of ONNX Runtime that are of no use to who reads an error.
var noise = regexp.MustCompile(`Error creating (temporary )?session[^:]*: |Load model from \S* failed:|Failed to load model with error: |Fatal error: |Exception during initialization: |\S+\.(cc|h):\d+ `)

// format finds the version of the format, and the newest that is known.
var format = regexp.MustCompile(`Unsupported model IR version: (\d+), max supported IR version: (\d+)`)

// oldestOpset is what ONNX Runtime knows for certain.
const oldestOpset = 7

// opset finds the version of the operators, and the newest that is known.
var opset = regexp.MustCompile(`(?s)Opset (\d+) is under development.*till opset (\d+)`)

// explain says what is wrong with a file that ONNX Runtime does not load.
func explain(err error, model []byte) error {
	text := err.Error()
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case len(model) == 0:
		return errors.New("read model: the file is empty, expected an ONNX model")
	case has("rotobuf parsing failed"), has("ModelProto does not have a graph"), has("INVALID_PROTOBUF"):
		return fmt.Errorf("read model: expected an ONNX model, found %s", looksLike(model))
	case opset.MatchString(text):
		version, _ := Version()
		found := opset.FindStringSubmatch(text)
		return fmt.Errorf("read model: it is of opset %s, expected at most %s, which is what ONNX Runtime %s knows", found[1], found[2], version)
	case format.MatchString(text):
		version, _ := Version()
		found := format.FindStringSubmatch(text)
		return fmt.Errorf("read model: it is in version %s of ONNX's format, expected at most %s, which is what ONNX Runtime %s knows", found[1], found[2], version)
	case has("is not a registered function/op"), has("No Op registered"), has("not a registered"):
		return fmt.Errorf("read model: it needs operators that ONNX Runtime does not have, expected standard ones: %s", clean(text))
	}
	if g, _ := look(model); g.opset > 0 && g.opset < oldestOpset {
		return fmt.Errorf("read model: it is of opset %d, expected at least %d: %s", g.opset, oldestOpset, clean(text))
	}
	return fmt.Errorf("read model: ONNX Runtime does not load it: %s", clean(text))
}

// looksLike says what a file is that is not ONNX.
func looksLike(b []byte) string {
	for _, k := range []struct{ magic, what string }{
		{"PK\x03\x04", "a zip archive (a PyTorch checkpoint?)"},
		{"<", "a page of HTML or XML (a failed download?)"},
		{"version https://git-lfs", "a pointer of Git LFS, not the file itself"},
		{"{", "JSON"},
		{"\x1f\x8b", "a gzip file"},
		{"\x89HDF", "an HDF5 file (Keras?)"},
		{"ORTM", "a model in ORT format"},
	} {
		if bytes.HasPrefix(b, []byte(k.magic)) || len(b) > 8 && bytes.HasPrefix(b[4:], []byte(k.magic)) {
			return k.what
		}
	}
	if len(b) > 8 && string(b[4:8]) == "TFL3" {
		return "a TensorFlow Lite model"
	}
	if b[0] == 0x08 || b[0] == 0x0a { // the fields that an ONNX file begins with
		return fmt.Sprintf("one that is truncated or damaged, of %d bytes", len(b))
	}
	return fmt.Sprintf("something else, of %d bytes", len(b))
}

// clean is an error of ONNX Runtime in one line, without the places in its source.
func clean(text string) string {
	return strings.Join(strings.Fields(noise.ReplaceAllString(text, "")), " ")
}

//go:build cgo

package ort

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
	"detections/media"
)

// expected is what Describe understands, for its errors.
const expected = "a NanoDet with decoded outputs: one float input [N,3,H,W], " +
	"float outputs scores [N,anchors,classes] and boxes [N,anchors,4], " +
	"and the metadata names, mean, std and color"

// Describe reads from an ONNX file what the rest of the program needs to know
// about it. The model's name is its metadata's "name", or else its graph's: whoever
// knows a better one sets it before Open. Init must have succeeded.
func Describe(model []byte) (*infer.Model, error) {
	facts, err := inspect(model)
	if err != nil {
		return nil, fmt.Errorf("describe model: %w", err)
	}
	m, err := facts.nanodet()
	if err != nil {
		return nil, fmt.Errorf("describe model: %w; expected %s; found %s", err, expected, facts)
	}
	sum := sha256.Sum256(model)
	m.SHA256 = hex.EncodeToString(sum[:])
	m.Version = m.SHA256[:12]
	m.Name = cmp.Or(facts.metadata["name"], facts.name, "model")
	return m, nil
}

// facts are what an ONNX file says about itself.
type facts struct {
	name            string // of the graph
	inputs, outputs []onnx.InputOutputInfo
	metadata        map[string]string
}

func (f *facts) String() string {
	var s []string
	for _, i := range f.inputs {
		s = append(s, fmt.Sprintf("input %s %v", i.Name, []int64(i.Dimensions)))
	}
	for _, o := range f.outputs {
		s = append(s, fmt.Sprintf("output %s %v", o.Name, []int64(o.Dimensions)))
	}
	var keys []string
	for k := range f.metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(s, ", ") + ", metadata " + strings.Join(keys, " ")
}

func inspect(model []byte) (*facts, error) {
	f := &facts{metadata: map[string]string{}}
	var err error
	if f.inputs, f.outputs, err = onnx.GetInputOutputInfoWithONNXData(model); err != nil {
		return nil, err
	}
	// The binding reads metadata either from a session made for it alone, fully
	// optimised with all threads, or from one of ours, which takes a third of the time.
	s, err := newSession(model, nil, sessionOptions{threads: 1, optimise: false})
	if err != nil {
		return nil, err
	}
	defer destroy(s)
	meta, err := s.GetModelMetadata()
	if err != nil {
		return nil, err
	}
	defer destroy(meta)
	if f.name, err = meta.GetGraphName(); err != nil {
		return nil, err
	}
	keys, err := meta.GetCustomMetadataMapKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if f.metadata[k], _, err = meta.LookupCustomMetadataMap(k); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// nanodet reads the facts as those of a NanoDet whose boxes are decoded inside.
func (f *facts) nanodet() (*infer.Model, error) {
	if len(f.inputs) != 1 || len(f.outputs) != 2 {
		return nil, fmt.Errorf("%d inputs and %d outputs", len(f.inputs), len(f.outputs))
	}
	in, scores, boxes := f.inputs[0], f.output("scores"), f.output("boxes")
	if scores == nil || boxes == nil {
		return nil, errors.New("no outputs named scores and boxes")
	}
	for _, v := range []onnx.InputOutputInfo{in, *scores, *boxes} {
		if v.OrtValueType != onnx.ONNXTypeTensor || v.DataType != onnx.TensorElementDataTypeFloat {
			return nil, fmt.Errorf("%s is not a tensor of float32", v.Name)
		}
	}
	if d := in.Dimensions; len(d) != 4 || d[1] != 3 || !side(d[2]) || !side(d[3]) {
		return nil, fmt.Errorf("input of shape %v", []int64(d))
	}
	s, b := scores.Dimensions, boxes.Dimensions
	if len(s) != 3 || len(b) != 3 || s[1] < 1 || s[1] != b[1] || s[2] < 1 || b[2] != 4 {
		return nil, fmt.Errorf("outputs of shapes %v and %v", []int64(s), []int64(b))
	}
	m := &infer.Model{
		Labels:  strings.Split(f.metadata["names"], ","),
		Input:   infer.Input{Name: in.Name, Width: int(in.Dimensions[3]), Height: int(in.Dimensions[2])},
		Outputs: []string{scores.Name, boxes.Name},
		Head:    infer.NanoDet{Classes: int(s[2])},
	}
	if len(m.Labels) != int(s[2]) {
		return nil, fmt.Errorf("%d names for %d classes", len(m.Labels), s[2])
	}
	return m, f.normalisation(&m.Input)
}

func side(d int64) bool { return d >= 1 && d <= media.MaxViewSide }

func (f *facts) output(name string) *onnx.InputOutputInfo {
	for i := range f.outputs {
		if f.outputs[i].Name == name {
			return &f.outputs[i]
		}
	}
	return nil
}

// normalisation reads colour order, mean and standard deviation.
func (f *facts) normalisation(in *infer.Input) error {
	switch c := f.metadata["color"]; c {
	case "BGR":
		in.Format = media.BGR24
	case "RGB":
		in.Format = media.RGB24
	default:
		return fmt.Errorf("color is %q, not BGR or RGB", c)
	}
	for key, dst := range map[string]*[3]float32{"mean": &in.Mean, "std": &in.Std} {
		parts := strings.Split(f.metadata[key], ",")
		if len(parts) != 3 {
			return fmt.Errorf("%s is %q, not three numbers", key, f.metadata[key])
		}
		for i, p := range parts {
			v, err := strconv.ParseFloat(strings.TrimSpace(p), 32)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || key == "std" && v <= 0 {
				return fmt.Errorf("%s is %q, not three numbers", key, f.metadata[key])
			}
			dst[i] = float32(v)
		}
	}
	return nil
}

//go:build cgo

package ort

import (
	"encoding/binary"
	"math"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// kind is a type of a tensor's values.
type kind struct {
	name string
	onnx onnx.TensorElementDataType
	size int // bytes
	// float converts a value; nil: it is one already, or is not to be read.
	float func([]byte) float32
}

var kinds = []kind{
	{"float32", onnx.TensorElementDataTypeFloat, 4, nil},
	{"float16", onnx.TensorElementDataTypeFloat16, 2, func(b []byte) float32 { return infer.Half(binary.NativeEndian.Uint16(b)).Float() }},
	{"float64", onnx.TensorElementDataTypeDouble, 8, func(b []byte) float32 { return float32(math.Float64frombits(binary.NativeEndian.Uint64(b))) }},
	{"int64", onnx.TensorElementDataTypeInt64, 8, func(b []byte) float32 { return float32(int64(binary.NativeEndian.Uint64(b))) }}, //nolint:gosec // G115: the same bits
	{"int32", onnx.TensorElementDataTypeInt32, 4, func(b []byte) float32 { return float32(int32(binary.NativeEndian.Uint32(b))) }}, //nolint:gosec // G115: the same bits
	{"int8", onnx.TensorElementDataTypeInt8, 1, func(b []byte) float32 { return float32(int8(b[0])) }},                             //nolint:gosec // G115: the same bits
	{"uint8", onnx.TensorElementDataTypeUint8, 1, func(b []byte) float32 { return float32(b[0]) }},
	{"bool", onnx.TensorElementDataTypeBool, 1, func(b []byte) float32 { return float32(b[0]) }},
}

// kindOf is the type with a name; nil: values of it are not read.
func kindOf(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// typeName is how facts name a type.
func typeName(v onnx.InputOutputInfo) string {
	if v.OrtValueType != onnx.ONNXTypeTensor {
		return v.OrtValueType.String()
	}
	for _, k := range kinds {
		if k.onnx == v.DataType {
			return k.name
		}
	}
	return v.DataType.String()
}

// results is the memory of an output for all images.
type results struct {
	kind  *kind
	shape []int64 // of a run of one image
	row   int     // values of an image
	raw   memory
	read  []float32 // as float32: raw itself, or a converted copy
}

func newResults(t infer.Tensor, images int) (*results, error) {
	r := &results{kind: kindOf(t.Type), shape: append([]int64{1}, t.Shape[1:]...), row: 1}
	for _, d := range r.shape {
		r.row *= int(d)
	}
	var err error
	if r.raw, err = allocate(images * r.row * r.kind.size); err != nil {
		return nil, err
	}
	if r.kind.float == nil {
		r.read = r.raw.floats()
	} else {
		r.read = make([]float32, images*r.row)
	}
	return r, nil
}

// tensor is the output of a run of n images.
func (r *results) tensor(n int) (onnx.Value, error) {
	shape := onnx.NewShape(r.shape...)
	shape[0] = int64(n)
	return onnx.NewCustomDataTensor(shape, r.raw[:n*r.row*r.kind.size], r.kind.onnx)
}

// convert makes the values of n images readable.
func (r *results) convert(n int) {
	if r.kind.float == nil {
		return
	}
	for i := range n * r.row {
		r.read[i] = r.kind.float(r.raw[i*r.kind.size:])
	}
}

//go:build cgo

package ort

import (
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// kind is a type of a tensor's values.
type kind struct {
	name string
	onnx onnx.TensorElementDataType
	size int // bytes
	// read converts values to float32; nil: they are.
	read func(dst []float32, raw []byte)
}

var kinds = []kind{
	{"float32", onnx.TensorElementDataTypeFloat, 4, nil},
	{"float16", onnx.TensorElementDataTypeFloat16, 2, readAs[infer.Half]},
	{"float64", onnx.TensorElementDataTypeDouble, 8, readAs[float64]},
	{"int64", onnx.TensorElementDataTypeInt64, 8, readAs[int64]},
	{"int32", onnx.TensorElementDataTypeInt32, 4, readAs[int32]},
	{"int8", onnx.TensorElementDataTypeInt8, 1, readAs[int8]},
	{"uint8", onnx.TensorElementDataTypeUint8, 1, readAs[uint8]},
	{"bool", onnx.TensorElementDataTypeBool, 1, readAs[uint8]},
}

// readAs converts values of a type, as they lie in memory.
func readAs[T infer.Half | float64 | int64 | int32 | int8 | uint8](dst []float32, raw []byte) {
	values := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(raw))), len(dst)) //nolint:gosec // G103: raw has a value for each of dst
	halves, ok := any(values).([]infer.Half)
	if !ok {
		for i, v := range values {
			dst[i] = float32(v)
		}
		return
	}
	for i, v := range halves {
		dst[i] = v.Float()
	}
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
	if r.kind.read == nil {
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
	if r.kind.read != nil {
		r.kind.read(r.read[:n*r.row], r.raw[:n*r.row*r.kind.size])
	}
}

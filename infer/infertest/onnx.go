package infertest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"detections/infer"
)

// Graph is a small ONNX model for tests.
type Graph struct {
	Name      string
	Opset     int // 0: 17
	Metadata  map[string]string
	Inputs    []infer.Tensor
	Outputs   []infer.Tensor
	Nodes     []Node
	Constants []Constant
}

// Node is an operator. The values of Attrs are int, []int, float32 or Constant.
type Node struct {
	Op, Domain string
	In, Out    []string
	Attrs      map[string]any
}

// Constant is a tensor of float32 or int64.
type Constant struct {
	Name   string
	Shape  []int64
	Floats []float32
	Ints   []int64
	// External says that the values are in a file of this name.
	External string
}

// Output is an output that is the same for every picture, but for Colors: then the
// mean of each of the three channels of the input is added to each row of three.
type Output struct {
	infer.Tensor // Shape[0] is the number of images
	Values       []float32
	Colors       bool
}

// Fixed is a network of one input and some outputs that are given.
func Fixed(in infer.Tensor, outputs ...Output) Graph {
	g := Graph{Name: "fixed", Inputs: []infer.Tensor{in}}
	node := func(op string, attrs map[string]any, out string, ins ...string) {
		g.Nodes = append(g.Nodes, Node{Op: op, In: ins, Out: []string{out}, Attrs: attrs})
	}
	node("Cast", map[string]any{"to": elements["float32"]}, "floats", in.Name)
	pixels := "floats"
	if in.Shape[1] != 3 {
		pixels = "planes"
		node("Transpose", map[string]any{"perm": []int{0, 3, 1, 2}}, pixels, "floats")
	}
	// It adds the pixels in the same order whatever the number of images; ReduceMean
	// does not.
	node("GlobalAveragePool", nil, "means", pixels)
	node("Reshape", nil, "colors", "means", "colors.shape")
	node("ReduceMean", map[string]any{"axes": []int{1, 2}, "keepdims": 0}, "mean", "colors")
	g.Constants = append(g.Constants, Constant{Name: "zero", Shape: []int64{1}, Floats: []float32{0}},
		Constant{Name: "colors.shape", Shape: []int64{3}, Ints: []int64{-1, 1, 3}})
	node("Mul", nil, "none", "mean", "zero") // [N] of zeros
	for _, o := range outputs {
		n := o.Name
		shape := slices.Repeat([]int64{1}, len(o.Shape))
		shape[0] = -1
		g.Constants = append(g.Constants,
			Constant{Name: n + ".shape", Shape: []int64{int64(len(shape))}, Ints: shape},
			Constant{Name: n + ".values", Shape: append([]int64{1}, o.Shape[1:]...), Floats: o.Values})
		node("Reshape", nil, n+".none", "none", n+".shape")
		node("Add", nil, n+".fixed", n+".values", n+".none")
		sum := n + ".fixed"
		if o.Colors {
			sum = n + ".sum"
			node("Add", nil, sum, n+".fixed", "colors")
		}
		node("Cast", map[string]any{"to": elements[o.Type]}, n, sum)
		g.Outputs = append(g.Outputs, o.Tensor)
	}
	return g
}

// elements are ONNX's numbers of the types.
var elements = map[string]int{
	"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10, "float64": 11,
}

// The numbers of the fields are those of onnx.proto.

// Bytes is the model as a file.
func (g Graph) Bytes() []byte {
	var graph []byte
	for _, n := range g.Nodes {
		graph = message(graph, 1, n.bytes())
	}
	graph = text(graph, 2, g.Name)
	for _, c := range g.Constants {
		graph = message(graph, 5, c.bytes())
	}
	for _, t := range g.Inputs {
		graph = message(graph, 11, valueInfo(t))
	}
	for _, t := range g.Outputs {
		graph = message(graph, 12, valueInfo(t))
	}
	opset := g.Opset
	if opset == 0 {
		opset = 17
	}
	b := number(nil, 1, 8) // version of the format
	b = message(b, 7, graph)
	b = message(b, 8, number(nil, 2, opset))
	for _, n := range g.Nodes {
		if n.Domain != "" {
			b = message(b, 8, number(text(nil, 1, n.Domain), 2, 1))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(g.Metadata)) {
		b = message(b, 14, text(text(nil, 1, k), 2, g.Metadata[k]))
	}
	return b
}

func (n Node) bytes() []byte {
	var b []byte
	for _, s := range n.In {
		b = text(b, 1, s)
	}
	for _, s := range n.Out {
		b = text(b, 2, s)
	}
	b = text(b, 4, n.Op)
	for _, k := range slices.Sorted(maps.Keys(n.Attrs)) {
		a := text(nil, 1, k)
		switch v := n.Attrs[k].(type) {
		case int:
			a = number(number(a, 3, v), 20, 2)
		case float32:
			a = number(protowire.AppendFixed32(protowire.AppendTag(a, 2, protowire.Fixed32Type), math.Float32bits(v)), 20, 1)
		case []int:
			for _, i := range v {
				a = number(a, 8, i)
			}
			a = number(a, 20, 7)
		case Constant:
			a = number(message(a, 5, v.bytes()), 20, 4)
		default:
			panic(fmt.Sprintf("attribute %s is a %T", k, v))
		}
		b = message(b, 5, a)
	}
	return text(b, 7, n.Domain)
}

func (c Constant) bytes() []byte {
	var b, raw []byte
	for _, d := range c.Shape {
		b = number(b, 1, int(d))
	}
	typ := elements["int64"]
	for _, v := range c.Ints {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v)) //nolint:gosec // G115: the same bits
	}
	if c.Floats != nil {
		typ = elements["float32"]
	}
	for _, v := range c.Floats {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	b = text(number(b, 2, typ), 8, c.Name)
	if c.External != "" {
		return number(message(b, 13, text(text(nil, 1, "location"), 2, c.External)), 14, 1)
	}
	return message(b, 9, raw)
}

func valueInfo(t infer.Tensor) []byte {
	var shape []byte
	for i, d := range t.Shape {
		if d < 1 {
			shape = message(shape, 1, text(nil, 2, fmt.Sprintf("open%d", i)))
		} else {
			shape = message(shape, 1, number(nil, 1, int(d)))
		}
	}
	tensor := message(number(nil, 1, elements[t.Type]), 2, shape)
	return message(text(nil, 1, t.Name), 2, message(nil, 1, tensor))
}

func number(b []byte, field protowire.Number, v int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v)) //nolint:gosec // G115: the same bits
}

func message(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func text(b []byte, field protowire.Number, s string) []byte { return message(b, field, []byte(s)) }

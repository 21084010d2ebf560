package infer_test

import (
	"encoding/binary"
	"math"
	"testing"

	"detections/infer"
)

// Whatever a description says, of whatever model, it makes a model that can be asked for
// its head, or it is refused.
func FuzzDescription(f *testing.F) {
	f.Add([]byte(`{"head":"yolov8","labels":["person"],"input":{"width":64,"height":64,"mean":[0,0,0],"std":[1,1,1]}}`), int64(64), int64(5), int64(84))
	f.Add([]byte(`{"output":{"boxes":"cxcywh","scores":"softmax","background":"first","strides":[8,16],"bins":8,"anchorStrides":[8]}}`), int64(128), int64(100), int64(112))
	f.Add([]byte(`{"output":{"anchors":[[0.5,0.5,1,1]],"firstClass":1,"nms":false}}`), int64(0), int64(1), int64(6))
	f.Fuzz(func(t *testing.T, text []byte, side, rows, columns int64) {
		d, err := infer.ParseDescription(text)
		if err != nil {
			return
		}
		m, err := infer.Describe(facts(side, "a,b", rows, columns), d)
		if err != nil {
			return
		}
		if m.Head == nil || m.Input.Width < 1 || m.Input.Height < 1 || len(m.Labels) == 0 {
			t.Errorf("%s makes %+v", text, m)
		}
	})
}

// Whatever a network puts out, a head makes candidates of numbers and of classes that
// there are, or none.
func FuzzHeads(f *testing.F) {
	f.Add([]byte{0, 0, 0x80, 0x3f, 0, 0, 0xc0, 0x7f, 0, 0, 0x80, 0x7f, 0xcd, 0xcc, 0x4c, 0x3d}, uint8(3), uint8(2))
	f.Add([]byte{0x33, 0x33, 0x9f, 0x42}, uint8(7), uint8(79)) // 79.6 of 80 classes
	f.Fuzz(func(t *testing.T, text []byte, anchors, classes uint8) {
		a, c := int(anchors)%16+1, int(classes)%80+1
		values := func(n int) []float32 { // the text again and again
			out := make([]float32, n)
			for i := range out {
				if len(text) >= 4 {
					out[i] = math.Float32frombits(binary.LittleEndian.Uint32(text[i*4%(len(text)-3):]))
				}
			}
			return out
		}
		cells := make([]infer.Cell, a)
		for name, try := range map[string]struct {
			head infer.Head
			out  [][]float32
		}{
			"rows":     {infer.Dense{Anchors: a, Classes: c}, [][]float32{values(a * (4 + c))}},
			"columns":  {infer.Dense{Anchors: a, Classes: c, Columns: true, Box: infer.BoxForm{Order: infer.Centre, X: 640, Y: 640}}, [][]float32{values(a * (4 + c))}},
			"objects":  {infer.Dense{Anchors: a, Classes: c, Objectness: true, Cells: cells}, [][]float32{values(a * (5 + c))}},
			"scores":   {infer.Scored{Anchors: a, Classes: c}, [][]float32{values(a * c), values(a * 4)}},
			"softmax":  {infer.Scored{Anchors: a, Classes: c, Activation: infer.Softmax, Background: infer.BackgroundFirst}, [][]float32{values(a * (c + 1)), values(a * 4)}},
			"sigmoid":  {infer.Scored{Anchors: a, Classes: c, Activation: infer.Sigmoid}, [][]float32{values(a * c), values(a * 4)}},
			"bins":     {infer.GFL{Classes: c, Bins: 8, Cells: cells}, [][]float32{values(a * (c + 32))}},
			"list":     {infer.Listed{Max: a, Classes: c}, [][]float32{values(a * 6)}},
			"separate": {infer.Listed{Max: a, Classes: c, First: 1, Separate: true, Counted: true}, [][]float32{values(a * 4), values(a), values(a), values(1)}},
		} {
			found := try.head.Decode(&network{out: try.out}, 0, 0.05, nil)
			for _, x := range found {
				if x.Class < 0 || int(x.Class) >= c || !(x.Score >= 0.05) {
					t.Errorf("%s: %+v of %d classes", name, x, c)
				}
				for _, v := range []float32{x.X1, x.Y1, x.X2, x.Y2, x.Score} {
					if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
						t.Errorf("%s: %+v", name, x)
					}
				}
			}
			new(infer.NMS).Keep(found, infer.Input{Width: 640, Height: 640}, 0.5)
		}
	})
}

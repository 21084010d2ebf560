package infer

import "math"

// GFL reads one output [N,Anchors,Classes+4·Bins] of a NanoDet whose boxes are not
// decoded in the network (generalized focal loss): scores with the sigmoid applied,
// and for each side of the box the logits of its distance from the cell's point, in
// strides: 0, 1, … Bins−1. Every class that reaches the threshold is a candidate.
type GFL struct {
	Classes, Bins int
	Cells         []Cell
}

// Decode implements [Head].
func (h GFL) Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate {
	out, width := e.Output(0, i), h.Classes+4*h.Bins
	for a := range h.Cells {
		row := out[a*width:][:width]
		var box Candidate
		decoded := false
		for c, s := range row[:h.Classes] {
			if !(s >= threshold) {
				continue
			}
			if !decoded {
				box, decoded = h.decode(row[h.Classes:], &h.Cells[a]), true
			}
			box.Score, box.Class = s, int32(c)
			dst = keep(dst, box)
		}
	}
	return dst
}

// decode is the box around a cell's point.
func (h GFL) decode(logits []float32, c *Cell) Candidate {
	x, y := c.X*c.Stride, c.Y*c.Stride
	side := func(k int) float32 { return mean(logits[k*h.Bins:][:h.Bins]) * c.Stride }
	return Candidate{X1: x - side(0), Y1: y - side(1), X2: x + side(2), Y2: y + side(3)}
}

// mean is the expected index under the softmax of the logits.
func mean(logits []float32) float32 {
	top := logits[0]
	for _, v := range logits {
		top = max(top, v)
	}
	var sum, weighted float64
	for k, v := range logits {
		p := math.Exp(float64(v - top))
		sum += p
		weighted += float64(k) * p
	}
	return float32(weighted / sum)
}

// Check implements [Head].
func (h GFL) Check(e Engine, i int) error {
	width := h.Classes + 4*h.Bins
	out, err := output(e, 0, i, len(h.Cells)*width)
	if err != nil {
		return err
	}
	scores := newSpread()
	for a := range h.Cells {
		scores.add(out[a*width:][:h.Classes])
	}
	return scores.probabilities(e.Model().Outputs[0].Name)
}

package infer

import "math"

// Dense reads one output that has a box and its scores for every anchor: the YOLO
// family. A candidate has the best class of its anchor, of equal ones the first.
type Dense struct {
	Box              BoxForm
	Anchors, Classes int
	// Columns says that the output is [N,4+Classes,Anchors], not [N,Anchors,4+Classes].
	Columns bool
	// Objectness says that a row has a number more before its scores, by which they
	// are multiplied. Only rows have it.
	Objectness bool
	// Cells, if there are any, say that a box is relative to its cell: the centre in
	// strides from the cell, and the logarithms of width and height in strides.
	Cells []Cell
}

// Decode implements [Head].
func (h Dense) Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate {
	if h.Columns {
		return h.columns(e.Output(0, i), threshold, dst)
	}
	return h.rows(e.Output(0, i), threshold, dst)
}

// width is the number of values of an anchor.
func (h Dense) width() int {
	if h.Objectness {
		return 5 + h.Classes
	}
	return 4 + h.Classes
}

func (h Dense) rows(out []float32, threshold float32, dst []Candidate) []Candidate {
	width := h.width()
	for a := 0; len(out) >= width; a, out = a+1, out[width:] {
		row, object := out[4:width], float32(1)
		if h.Objectness {
			object, row = row[0], row[1:]
			if !(object >= threshold) { // scores are at most 1
				continue
			}
		}
		best, class := float32(math.Inf(-1)), 0
		for c, s := range row {
			if s > best {
				best, class = s, c
			}
		}
		if s := object * best; s >= threshold {
			dst = h.add(dst, (*[4]float32)(out), a, s, class)
		}
	}
	return dst
}

// blockSize is how many anchors are compared at a time: as many as fit in the first
// cache, so that each value is read once.
const blockSize = 64

// columns looks at a block of anchors, class after class: their scores lie beside
// each other. The time does not depend on how many reach the threshold.
func (h Dense) columns(out []float32, threshold float32, dst []Candidate) []Candidate {
	var best [blockSize]float32
	var class [blockSize]int32
	below := math.Nextafter32(threshold, -1)
	for base := 0; base < h.Anchors; base += blockSize {
		n := min(blockSize, h.Anchors-base)
		for j := range best {
			best[j] = below
		}
		for c := range h.Classes {
			raise(out[(4+c)*h.Anchors+base:][:n], int32(c), &best, &class)
		}
		for j, s := range best[:n] {
			if s > below {
				a := base + j
				box := [4]float32{out[a], out[h.Anchors+a], out[2*h.Anchors+a], out[3*h.Anchors+a]}
				dst = h.add(dst, &box, a, s, int(class[j]))
			}
		}
	}
	return dst
}

// raise takes over the scores of a class that are better than the best so far.
func raise(scores []float32, c int32, best *[blockSize]float32, class *[blockSize]int32) {
	j := 0
	for ; len(scores) >= 8; j, scores = j+8, scores[8:] {
		s, b := (*[8]float32)(scores), (*[8]float32)(best[j:])
		if s[0] > b[0] || s[1] > b[1] || s[2] > b[2] || s[3] > b[3] ||
			s[4] > b[4] || s[5] > b[5] || s[6] > b[6] || s[7] > b[7] {
			for k, v := range s {
				if v > b[k] {
					b[k], class[j+k] = v, c
				}
			}
		}
	}
	for k, v := range scores {
		if v > best[j+k] {
			best[j+k], class[j+k] = v, c
		}
	}
}

// add appends the candidate of anchor a.
func (h Dense) add(dst []Candidate, b *[4]float32, a int, score float32, class int) []Candidate {
	if h.Cells == nil {
		return keep(dst, h.Box.box(b, score, class))
	}
	g := &h.Cells[a]
	decoded := [4]float32{
		(b[0] + g.X) * g.Stride, (b[1] + g.Y) * g.Stride,
		float32(math.Exp(float64(b[2]))) * g.Stride, float32(math.Exp(float64(b[3]))) * g.Stride,
	}
	return keep(dst, h.Box.box(&decoded, score, class))
}

// Check implements [Head].
func (h Dense) Check(e Engine, i int) error {
	name, width := e.Model().Outputs[0].Name, h.width()
	out, err := output(e, 0, i, h.Anchors*width)
	if err != nil {
		return err
	}
	boxes, scores := newSpread(), newSpread()
	if h.Columns {
		boxes.add(out[:4*h.Anchors])
		scores.add(out[4*h.Anchors:])
	} else {
		for a := range h.Anchors {
			row := out[a*width:][:width]
			boxes.add(row[:4])
			scores.add(row[4:])
		}
	}
	if err := scores.probabilities(name); err != nil || h.Cells != nil {
		return err
	}
	return boxes.unit(h.Box, name)
}

package infer

import (
	"math"
)

// Activation is what is to be done to a network's scores.
type Activation uint8

// The activations.
const (
	Probability Activation = iota // nothing: they are 0 to 1
	Sigmoid
	Softmax // over all classes of an anchor
)

// Background says which column of the scores is no class.
type Background uint8

// The places of the background.
const (
	NoBackground Background = iota
	BackgroundFirst
	BackgroundLast
)

// Anchor is a box of a network, as fractions of the input's sides: centre and size.
type Anchor struct{ X, Y, W, H float32 }

// Scored reads two outputs, of whose anchors every class that reaches the threshold is
// a candidate, in the order of the anchors, then of the classes: output 0 are scores
// [N,Anchors,Classes], output 1 boxes [N,Anchors,4 or more]. NanoDet is the zero value
// with its sizes; the families of DETR and of MediaPipe are others.
type Scored struct {
	Box              BoxForm
	Anchors, Classes int // the background is not counted
	Activation       Activation
	Background       Background
	// Width is the number of values of a box; what follows the first four is not
	// read. 0: 4.
	Width int
	// Relative, if there are any, are what boxes are relative to: the centre is moved
	// by, and everything multiplied by the anchor's. The order of Box must be Centre.
	Relative []Anchor
	// Side are width and height of the input, for Relative.
	Side [2]float32
}

// Decode implements [Head]. Values that are not finite are left out.
func (h Scored) Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate {
	scores, boxes := e.Output(0, i), e.Output(1, i)
	if h.Activation == Softmax {
		return h.softmax(scores, boxes, threshold, dst)
	}
	least := threshold
	if h.Activation == Sigmoid {
		least = logit(threshold)
	}
	rest := scores
	for base := 0; len(rest) >= 16; base, rest = base+16, rest[16:] {
		if s := (*[16]float32)(rest); any16(s, least) {
			dst = h.collect(s[:], boxes, base, [2]float32{least, threshold}, dst)
		}
	}
	return h.collect(rest, boxes, len(scores)-len(rest), [2]float32{least, threshold}, dst)
}

// logit is below what gives p after a sigmoid, by a little more than rounding.
func logit(p float32) float32 {
	x := math.Log(float64(p) / (1 - float64(p)))
	return float32(x - 1e-5*(1+math.Abs(x)))
}

// collect appends the candidates among some scores, the first of which has index
// base. least are the least values before and after the activation.
func (h Scored) collect(scores, boxes []float32, base int, least [2]float32, dst []Candidate) []Candidate {
	columns := h.columns()
	for j, s := range scores {
		if !(s >= least[0]) {
			continue
		}
		if h.Activation == Sigmoid {
			if s = float32(1 / (1 + math.Exp(-float64(s)))); s < least[1] {
				continue
			}
		}
		a, class := (base+j)/columns, (base+j)%columns
		if h.Background == BackgroundFirst {
			class--
		}
		if class >= 0 && class < h.Classes {
			dst = h.add(dst, boxes, a, s, class)
		}
	}
	return dst
}

// columns is the number of scores of an anchor.
func (h Scored) columns() int {
	if h.Background == NoBackground {
		return h.Classes
	}
	return h.Classes + 1
}

func (h Scored) softmax(scores, boxes []float32, threshold float32, dst []Candidate) []Candidate {
	columns, first := h.columns(), 0
	if h.Background == BackgroundFirst {
		first = 1
	}
	// A share of e^s / e^top is the most that a score can have.
	least := math.Log(float64(threshold)) - 1e-5
	for a := 0; len(scores) >= columns; a, scores = a+1, scores[columns:] {
		row := scores[:columns]
		top, class := row[0], row[first]
		for _, s := range row {
			top = max(top, s)
		}
		for _, s := range row[first : first+h.Classes] {
			class = max(class, s)
		}
		if !(float64(class-top) >= least) {
			continue
		}
		var sum float64
		for _, s := range row {
			sum += math.Exp(float64(s - top))
		}
		for c, s := range row[first : first+h.Classes] {
			if p := float32(math.Exp(float64(s-top)) / sum); p >= threshold {
				dst = h.add(dst, boxes, a, p, c)
			}
		}
	}
	return dst
}

// add appends the candidate of anchor a.
func (h Scored) add(dst []Candidate, boxes []float32, a int, score float32, class int) []Candidate {
	width := max(h.Width, 4)
	b := (*[4]float32)(boxes[a*width:])
	if h.Relative == nil {
		return keep(dst, h.Box.box(b, score, class))
	}
	r := &h.Relative[a]
	form := h.Box
	x, y := max(form.X, 1), max(form.Y, 1)
	absolute := [4]float32{
		b[0]*x*r.W + r.X*h.Side[0], b[1]*y*r.H + r.Y*h.Side[1], b[2] * x * r.W, b[3] * y * r.H,
	}
	form.X, form.Y = 1, 1
	return keep(dst, form.box(&absolute, score, class))
}

// Check implements [Head].
func (h Scored) Check(e Engine, i int) error {
	width := max(h.Width, 4)
	out, err := output(e, 0, i, h.Anchors*h.columns())
	if err != nil {
		return err
	}
	boxes, err := output(e, 1, i, h.Anchors*width)
	if err != nil {
		return err
	}
	if h.Activation == Probability {
		scores := newSpread()
		scores.add(out)
		if err := scores.probabilities(e.Model().Outputs[0].Name); err != nil {
			return err
		}
	}
	if h.Relative != nil {
		return nil
	}
	sides := newSpread()
	for a := range h.Anchors {
		sides.add(boxes[a*width:][:4])
	}
	return sides.unit(h.Box, e.Model().Outputs[1].Name)
}

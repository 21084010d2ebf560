package infer

import "fmt"

// Listed reads a list of detections that the network has made itself: rows
// [N,Max,6] of a box, a score and a class (YOLOv10, YOLO26, CenterNet), or if
// Separate the outputs boxes [N,Max,4], classes [N,Max], scores [N,Max] and, if
// Counted, how many of them are valid [N] (SSD of TensorFlow, exports of RT-DETR).
// A class for which there is no label is left out.
type Listed struct {
	Box          BoxForm
	Max, Classes int
	First        int // number of the first class
	Separate     bool
	Counted      bool
}

// Decode implements [Head].
func (h Listed) Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate {
	for k := range h.valid(e, i) {
		b, score, number := h.at(e, i, k)
		if score >= threshold {
			// Rounded before it is compared: 79.6 is none of 80 classes.
			if class := number - float32(h.First) + 0.5; class >= 0.5 && class < float32(h.Classes) {
				dst = keep(dst, h.Box.box(b, score, int(class)))
			}
		}
	}
	return dst
}

// valid is the number of detections in the list.
func (h Listed) valid(e Engine, i int) int {
	if !h.Counted {
		return h.Max
	}
	if n := e.Output(3, i)[0]; n >= 0 && n < float32(h.Max) {
		return int(n)
	}
	return h.Max
}

// at is the k-th detection of the list.
func (h Listed) at(e Engine, i, k int) (b *[4]float32, score, class float32) {
	if h.Separate {
		return (*[4]float32)(e.Output(0, i)[4*k:]), e.Output(2, i)[k], e.Output(1, i)[k]
	}
	row := (*[6]float32)(e.Output(0, i)[6*k:])
	return (*[4]float32)(row[:]), row[4], row[5]
}

// Check implements [Head].
func (h Listed) Check(e Engine, i int) error {
	for k, want := range h.sizes() {
		if _, err := output(e, k, i, want); err != nil {
			return err
		}
	}
	outputs := e.Model().Outputs
	boxes, scores := newSpread(), newSpread()
	for k := range h.valid(e, i) {
		b, score, class := h.at(e, i, k)
		scores.add([]float32{score})
		if score < 0.05 {
			continue // the rest of the list may be filled with anything
		}
		boxes.add(b[:])
		if last := h.First + h.Classes - 1; class < float32(h.First) || class > float32(last) {
			return fmt.Errorf("output %s names class %g, expected %d to %d, for which there are labels", outputs[min(1, len(outputs)-1)].Name, class, h.First, last)
		}
	}
	if err := scores.probabilities(outputs[min(2, len(outputs)-1)].Name); err != nil {
		return err
	}
	return boxes.unit(h.Box, outputs[0].Name)
}

// sizes are the numbers of values of the outputs.
func (h Listed) sizes() []int {
	switch {
	case !h.Separate:
		return []int{6 * h.Max}
	case h.Counted:
		return []int{4 * h.Max, h.Max, h.Max, 1}
	default:
		return []int{4 * h.Max, h.Max, h.Max}
	}
}

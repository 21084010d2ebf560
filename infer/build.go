package infer

import (
	"cmp"
	"errors"
	"fmt"

	"detections/media"
)

// defaultBins is how many distances a NanoDet tells apart (reg_max 7).
const defaultBins = 8

// MaxAnchors bounds the boxes of a network.
const MaxAnchors = 1 << 20

// form is how boxes are written: what the description says, or else what is usual.
func (b *builder) form(order BoxOrder, normalised bool, scale float32) BoxForm {
	o := &b.d.Output
	f := BoxForm{Order: either(o.Boxes, boxOrders, order), X: scale, Y: scale}
	if o.Units != "" {
		normalised, f.X, f.Y = o.Units == units[1], 1, 1
	}
	if normalised {
		f.X, f.Y = float32(b.in.Width), float32(b.in.Height)
	}
	if o.Scale > 0 {
		f.X, f.Y = o.Scale, o.Scale
	}
	return f
}

// dims are the last two dimensions of an output of three.
func dims(t Tensor) (rows, columns int, err error) {
	if len(t.Shape) != 3 {
		return 0, 0, fmt.Errorf("output %s has %d dimensions, expected 3", t, len(t.Shape))
	}
	if t.Shape[1] < 1 || t.Shape[2] < 1 || t.Shape[1] > MaxAnchors || t.Shape[2] > MaxAnchors {
		return 0, 0, fmt.Errorf("output %s: expected dimensions of 1 to %d", t, MaxAnchors)
	}
	return int(t.Shape[1]), int(t.Shape[2]), nil
}

// unused says that a setting of the description means nothing to the family.
func (b *builder) unused(settings ...string) error {
	o := &b.d.Output
	given := map[string]bool{
		"scores": o.Scores != "", "background": o.Background != "", "firstClass": o.FirstClass != nil, "strides": o.Strides != nil,
		"offset": o.Offset != nil, "bins": o.Bins != 0, "anchors": o.Anchors != nil, "anchorStrides": o.AnchorStrides != nil,
	}
	for _, s := range settings {
		if given[s] {
			return fmt.Errorf("the description sets output.%s, which this head does not have", s)
		}
	}
	return nil
}

// dense builds the heads of the YOLO family.
func (b *builder) dense() (Head, error) {
	if err := b.unused("scores", "background", "firstClass", "offset", "bins", "anchors", "anchorStrides"); err != nil {
		return nil, err
	}
	t := b.outputs[0]
	rows, columns, err := dims(t)
	if err != nil {
		return nil, err
	}
	h := Dense{Box: b.form(Centre, b.family.name == "rt-detr-rows", 1), Anchors: rows, Classes: columns - 4}
	switch b.family.name {
	case "yolov5":
		h.Objectness, h.Classes = true, columns-5
	case "yolov8":
		h.Columns, h.Anchors, h.Classes = true, columns, rows-4
	case "yolox":
		h.Objectness, h.Classes = true, columns-5
		strides := b.levels(rows, 1)
		if strides == nil {
			return nil, b.noGrid(t, rows)
		}
		h.Cells = Grid(b.in.Width, b.in.Height, strides, 0)
	}
	return h, b.label(h.Classes, t)
}

// noGrid says that an output does not fit the input's size.
func (b *builder) noGrid(t Tensor, anchors int) error {
	strides := b.d.Output.Strides
	if strides == nil {
		strides = []int{8, 16, 32}
	}
	return fmt.Errorf("output %s has %d anchors, expected %d for a picture of %d×%d with strides %v; if the strides are others, say so as output.strides",
		t, anchors, cells(b.in.Width, b.in.Height, strides), b.in.Width, b.in.Height, strides)
}

// gfl builds the head of a NanoDet that is not decoded.
func (b *builder) gfl() (Head, error) {
	if err := b.unused("scores", "background", "firstClass", "anchors", "anchorStrides"); err != nil {
		return nil, err
	}
	t := b.outputs[0]
	rows, columns, err := dims(t)
	if err != nil {
		return nil, err
	}
	strides := b.levels(rows, 1)
	if strides == nil {
		return nil, b.noGrid(t, rows)
	}
	// NanoDet has three levels and its points in the middle of the cells; NanoDet-Plus
	// has four, points at the corners, and does not keep the aspect.
	offset := float32(0.5)
	if len(strides) == 4 {
		offset = 0
		if b.d.Input.Fit == "" {
			b.in.Fit = media.Stretch
		}
	}
	if b.d.Output.Offset != nil {
		offset = *b.d.Output.Offset
	}
	bins := cmp.Or(b.d.Output.Bins, defaultBins)
	h := GFL{Classes: columns - 4*bins, Bins: bins, Cells: Grid(b.in.Width, b.in.Height, strides, offset)}
	return h, b.label(h.Classes, t)
}

// scored builds the heads that have scores and boxes apart.
func (b *builder) scored() (Head, error) {
	if err := b.unused("firstClass", "strides", "offset", "bins"); err != nil {
		return nil, err
	}
	scores, boxes := b.outputs[0], b.outputs[1]
	anchors, columns, err := dims(scores)
	if err != nil {
		return nil, err
	}
	rows, width, err := dims(boxes)
	if err != nil {
		return nil, err
	}
	if rows != anchors || width < 4 {
		return nil, fmt.Errorf("outputs %s and %s: expected as many boxes, of 4 values or more, as rows of scores", scores, boxes)
	}
	order, activation := Centre, Sigmoid
	if b.family.name == "nanodet" {
		order, activation = Corners, Probability
	}
	o := &b.d.Output
	h := Scored{
		Box: b.form(order, b.family.name == "rt-detr" || b.family.name == "rf-detr", 1), Anchors: anchors, Classes: columns, Width: width,
		Activation: either(o.Scores, activations, activation), Background: either(o.Background, backgrounds, NoBackground),
	}
	if h.Background != NoBackground {
		h.Classes--
	}
	if h.Relative, err = b.relative(anchors); err != nil {
		return nil, err
	}
	if h.Relative != nil {
		h.Side = [2]float32{float32(b.in.Width), float32(b.in.Height)}
		if h.Box.Order != Centre {
			return nil, errors.New("output.boxes: expected cxcywh for boxes relative to anchors")
		}
	}
	return h, b.label(h.Classes, scores)
}

// blazeStrides are the levels of MediaPipe's short-range face detector, 896 anchors
// for a picture of 128×128.
var blazeStrides = []int{8, 16, 16, 16}

// relative are the anchors of the description, or those that MediaPipe makes: two
// for each cell of a level, of the size of the input.
func (b *builder) relative(n int) ([]Anchor, error) {
	o := &b.d.Output
	var all []Anchor
	for _, a := range o.Anchors {
		all = append(all, Anchor{a[0], a[1], a[2], a[3]})
	}
	strides := o.AnchorStrides
	if strides == nil && all == nil && b.family.name == "mediapipe" {
		strides = blazeStrides
	}
	for i := 0; i < len(strides); {
		same := i
		for same < len(strides) && strides[same] == strides[i] {
			same++
		}
		for _, c := range Grid(b.in.Width, b.in.Height, strides[i:i+1], 0.5) {
			for range 2 * (same - i) { // levels of one stride are one level
				all = append(all, Anchor{c.X * c.Stride / float32(b.in.Width), c.Y * c.Stride / float32(b.in.Height), 1, 1})
			}
		}
		i = same
	}
	if all != nil && len(all) != n {
		return nil, fmt.Errorf("outputs %s and %s have %d anchors, expected %d; output.anchors or output.anchorStrides in the description make them", b.outputs[0], b.outputs[1], n, len(all))
	}
	return all, nil
}

// listed builds the heads of networks that end with a list.
func (b *builder) listed() (Head, error) {
	if err := b.unused("scores", "background", "strides", "offset", "bins", "anchors", "anchorStrides"); err != nil {
		return nil, err
	}
	if len(b.labels) == 0 {
		return nil, errors.New("such a network does not tell how many classes there are, expected labels in the description")
	}
	h := Listed{Classes: len(b.labels)}
	var err error
	if b.family.name == "ssd" {
		h, err = b.separate(h)
	} else {
		h.Box = b.form(Corners, false, 1)
		if b.family.name == "centernet" {
			h.Box = b.form(Corners, false, 4)
		}
		var columns int
		if h.Max, columns, err = dims(b.outputs[0]); err == nil && columns != 6 {
			err = fmt.Errorf("output %s: expected rows of 6 values", b.outputs[0])
		}
	}
	if b.d.Output.FirstClass != nil {
		h.First = *b.d.Output.FirstClass
	}
	return h, err
}

// separate finishes a list that has outputs of its own for boxes, classes and scores.
func (b *builder) separate(h Listed) (Listed, error) {
	rows, width, err := dims(b.outputs[0])
	if err != nil {
		return h, err
	}
	h.Max, h.Separate, h.Counted = rows, true, len(b.outputs) == 4
	for i, t := range b.outputs[1:] {
		n, want := int64(1), int64(rows)
		if i == 2 {
			want = 1
		}
		for _, d := range t.Shape[min(1, len(t.Shape)):] {
			n *= d
		}
		if n != want || width != 4 {
			return h, fmt.Errorf("outputs %s and %s do not belong together, expected boxes [N,K,4], classes [N,K], scores [N,K] and a count [N]", b.outputs[0], t)
		}
	}
	h.Box = b.form(RowCol, true, 1)
	// The lists of TensorFlow number from 1; an export of RT-DETR says labels, from 0,
	// and corners.
	h.First = 1
	if _, ok := b.facts.Output("labels"); ok {
		h.First, h.Box = 0, b.form(Corners, false, 1)
	}
	return h, nil
}

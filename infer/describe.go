package infer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"detections/media"
)

// Describe recognises a model by its facts; what d says, which may be nil, wins. The
// shapes of the outputs must be known but for the number of images. The caller adds
// SHA256 and Version. Errors say what was expected and what was found.
func Describe(f *Facts, d *Description) (*Model, error) {
	if d == nil {
		d = &Description{}
	}
	in, batch, err := Picture(f, d)
	if err != nil {
		return nil, err
	}
	b := &builder{facts: f, d: d, in: in}
	if b.family, b.outputs, err = b.recognise(); err != nil {
		return nil, err
	}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	if b.labels, err = b.names(); err != nil {
		return nil, err
	}
	own := b.labels != nil
	if !own && d.Classes != nil {
		b.labels = d.Classes.names()
	}
	for _, t := range b.outputs {
		if !readable(t.Type) {
			return nil, fmt.Errorf("output %s is of a type that cannot be read, expected numbers", t)
		}
		n := int64(1)
		for _, d := range t.Shape[min(1, len(t.Shape)):] {
			if n *= d; d < 1 || d > maxValues || n > maxValues {
				return nil, fmt.Errorf("output %s: expected 1 to %d values for an image", t, maxValues)
			}
		}
	}
	head, err := b.family.build(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.family.name, err)
	}
	m := &Model{
		Name: cmp.Or(d.Name, f.Metadata["name"], f.Name, "model"), Version: d.Version, Description: d.sum,
		Labels: b.labels, Input: b.in, Batch: batch, Head: head, Family: b.family.name, Single: b.family.single, Outputs: b.outputs,
	}
	if d.Output.NMS != nil {
		m.Single = !*d.Output.NMS
	}
	if c := d.Classes; c != nil {
		if err := c.check(m, own); err != nil {
			return nil, err
		}
		c.dress(m, own)
	}
	return m, nil
}

// readable says whether values of a type can be converted to float32.
func readable(typ string) bool {
	return slices.Contains([]string{"float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool"}, typ)
}

// Picture finds the input that takes pictures: its name, size, type and layout, and
// how many images a run must have, 0 if any number.
func Picture(f *Facts, d *Description) (in Input, batch int, err error) {
	if d == nil {
		d = &Description{}
	}
	var found []Tensor
	for _, t := range f.Inputs {
		if len(t.Shape) == 4 && (d.Input.Name == "" || t.Name == d.Input.Name) {
			found = append(found, t)
		}
	}
	if len(found) != 1 || len(f.Inputs) != 1 {
		return in, 0, errors.New("expected one input, of pictures [N,3,H,W] or [N,H,W,3]" + notPictures(f))
	}
	t := found[0]
	in.Name = t.Name
	i := slices.Index([]string{"float32", "float16", "uint8"}, t.Type)
	if i < 0 {
		return in, 0, fmt.Errorf("input %s: expected float32, float16 or uint8", t)
	}
	in.Type = Type(i)
	switch {
	case d.Input.Layout != "":
		in.Layout = either(d.Input.Layout, layouts, NCHW)
	case t.Shape[1] == 3:
	case t.Shape[3] == 3:
		in.Layout = NHWC
	case t.Shape[1] < 1 && t.Shape[3] < 1:
		return in, 0, fmt.Errorf("input %s does not tell where its channels are, expected input.layout in the description", t)
	}
	channels, h, w := t.Shape[1], t.Shape[2], t.Shape[3]
	if in.Layout == NHWC {
		h, w, channels = t.Shape[1], t.Shape[2], t.Shape[3]
	}
	if channels >= 1 && channels != 3 {
		return in, 0, fmt.Errorf("input %s has %d channels, expected 3", t, channels)
	}
	mh, mw := sizeInMetadata(f.Metadata["imgsz"])
	if in.Width, err = settle("width", w, d.Input.Width, mw, t); err != nil {
		return in, 0, err
	}
	if in.Height, err = settle("height", h, d.Input.Height, mh, t); err != nil {
		return in, 0, err
	}
	if t.Shape[0] > maxFixed {
		return in, 0, fmt.Errorf("input %s takes %d pictures a run, expected at most %d", t, t.Shape[0], maxFixed)
	}
	return in, int(max(0, t.Shape[0])), nil
}

// maxFixed bounds the pictures of a run that a model can demand.
const maxFixed = 256

// notPictures names the inputs that cannot be filled.
func notPictures(f *Facts) string {
	var s []string
	for _, t := range f.Inputs {
		if len(t.Shape) != 4 {
			s = append(s, t.String())
		}
	}
	if s == nil {
		return ""
	}
	return "; " + strings.Join(s, ", ") + " cannot be filled: export the model without"
}

// settle is a side of the input: what the model fixes, or else what is asked for.
func settle(name string, fixed int64, asked, hint int, t Tensor) (int, error) {
	side := cmp.Or(asked, hint)
	if fixed >= 1 {
		if asked > 0 && int64(asked) != fixed {
			return 0, fmt.Errorf("input %s has %s %d, the description says %d", t, name, fixed, asked)
		}
		side = int(min(fixed, math.MaxInt32))
	}
	if side < 1 {
		return 0, fmt.Errorf("input %s leaves its size open, expected input.width and input.height in the description", t)
	}
	if side > media.MaxViewSide {
		return 0, fmt.Errorf("input %s: %s %d, expected at most %d", t, name, side, media.MaxViewSide)
	}
	return side, nil
}

// sizeInMetadata reads [height, width].
func sizeInMetadata(text string) (h, w int) {
	a, b, ok := strings.Cut(strings.Trim(text, "[]() "), ",")
	if !ok {
		return 0, 0
	}
	h, errH := strconv.Atoi(strings.TrimSpace(a))
	w, errW := strconv.Atoi(strings.TrimSpace(b))
	if errH != nil || errW != nil {
		return 0, 0
	}
	return h, w
}

// builder makes a head for a model.
type builder struct {
	facts   *Facts
	d       *Description
	in      Input
	family  *family
	outputs []Tensor // in the order in which the head reads them
	labels  []string // nil: nobody names them
}

// prepare settles how pixels become values: the description, or else the metadata
// color, mean and std, or else what is usual in the family.
func (b *builder) prepare() error {
	in, p, d := &b.in, b.family.pixels, &b.d.Input
	in.Format, in.Fit, in.Fill, in.Mean, in.Std = p.format, p.fit, p.fill, p.mean, p.std
	if in.Type == Uint8 {
		in.Mean, in.Std = [3]float32{}, [3]float32{1, 1, 1}
	}
	meta := b.facts.Metadata
	if c, ok := meta["color"]; ok {
		if i := slices.Index(colors, strings.ToLower(c)); i < 0 {
			return fmt.Errorf("metadata color is %q, expected BGR or RGB", c)
		}
		in.Format = either(strings.ToLower(c), colors, in.Format)
	}
	for key, dst := range map[string]*[3]float32{"mean": &in.Mean, "std": &in.Std} {
		if text, ok := meta[key]; ok {
			if err := three(key, text, dst); err != nil {
				return err
			}
		}
	}
	in.Format, in.Fit = either(d.Color, colors, in.Format), either(d.Fit, fits, in.Fit)
	if d.Mean != nil {
		in.Mean = *d.Mean
	}
	if d.Std != nil {
		in.Std = *d.Std
	}
	if d.Fill != nil {
		in.Fill = byte(*d.Fill)
	}
	return nil
}

// three reads three numbers of the metadata.
func three(key, text string, dst *[3]float32) error {
	bad := fmt.Errorf("metadata %s is %q, expected three numbers", key, text)
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return bad
	}
	for i, p := range parts {
		v, err := strconv.ParseFloat(strings.TrimSpace(p), 32)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || key == "std" && v <= 0 {
			return bad
		}
		dst[i] = float32(v)
	}
	return nil
}

// names are the labels that the description or the metadata gives.
func (b *builder) names() ([]string, error) {
	if b.d.Labels != nil {
		return b.d.Labels, nil
	}
	if text := b.facts.Metadata["names"]; text != "" {
		return parseNames(text)
	}
	return nil, nil
}

// label makes the labels fit a number of classes.
func (b *builder) label(classes int, t Tensor) error {
	switch {
	case classes < 1:
		return fmt.Errorf("output %s has room for %d classes, expected at least 1", t, max(0, classes))
	case classes > maxClasses:
		return fmt.Errorf("output %s has room for %d classes, expected at most %d", t, classes, maxClasses)
	case b.labels == nil:
		for c := range classes {
			b.labels = append(b.labels, fmt.Sprintf("class %d", c))
		}
	case len(b.labels) != classes:
		from := "the metadata"
		switch {
		case b.d.Labels != nil:
			from = "the description"
		case b.facts.Metadata["names"] == "":
			from = b.d.Classes.name()
		}
		return fmt.Errorf("output %s has %d classes, but %s names %d", t, classes, from, len(b.labels))
	}
	return nil
}

const maxClasses = 1 << 16

// maxValues bounds an output: 256 MiB for an image.
const maxValues = 1 << 26

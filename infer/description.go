package infer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"detections/media"
)

// Description is a model description file: it overrides what is recognised in a
// model, and adds what the model does not say. What is left out is recognised.
// docs/models.md explains it.
type Description struct {
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Head    string            `json:"head"` // a family, see Families
	Labels  []string          `json:"labels"`
	Input   InputDescription  `json:"input"`
	Output  OutputDescription `json:"output"`

	// Classes are those that are listed beside it; nil: they are not. Names that the
	// description or the file gives must be the same.
	Classes *ClassList `json:"-"`

	text []byte
	sum  string
}

// Text is that of the file.
func (d *Description) Text() []byte { return d.text }

// Sum is the first 12 hex digits of the SHA-256 of the file.
func (d *Description) Sum() string { return d.sum }

// InputDescription describes the input.
type InputDescription struct {
	Name   string      `json:"name"`
	Width  int         `json:"width"`  // pixels
	Height int         `json:"height"` // pixels
	Layout string      `json:"layout"` // nchw, nhwc
	Color  string      `json:"color"`  // rgb, bgr
	Mean   *[3]float32 `json:"mean"`   // of 0..255, in the order of color
	Std    *[3]float32 `json:"std"`
	Fit    string      `json:"fit"`  // letterbox, corner, stretch
	Fill   *int        `json:"fill"` // grey of the border, 0..255
}

// OutputDescription describes the outputs.
type OutputDescription struct {
	Names         []string     `json:"names"`
	Boxes         string       `json:"boxes"`      // xyxy, cxcywh, yxyx
	Units         string       `json:"units"`      // pixels, normalised
	Scale         float32      `json:"scale"`      // input pixels in a unit
	Scores        string       `json:"scores"`     // probability, sigmoid, softmax
	Background    string       `json:"background"` // none, first, last
	FirstClass    *int         `json:"firstClass"`
	Strides       []int        `json:"strides"`
	Offset        *float32     `json:"offset"` // of a cell's point, in strides
	Bins          int          `json:"bins"`
	NMS           *bool        `json:"nms"`
	Anchors       [][4]float32 `json:"anchors"`       // centre and size, fractions of the input's sides
	AnchorStrides []int        `json:"anchorStrides"` // makes anchors as MediaPipe does
}

// The words that settings can have; their order is that of the constants.
var (
	layouts     = []string{"nchw", "nhwc"}
	colors      = []string{"bgr", "rgb"}
	fits        = []string{"letterbox", "stretch", "corner"}
	boxOrders   = []string{"xyxy", "cxcywh", "yxyx"}
	units       = []string{"pixels", "normalised"}
	activations = []string{"probability", "sigmoid", "softmax"}
	backgrounds = []string{"none", "first", "last"}
)

// MaxDescription bounds the bytes of a description.
const MaxDescription = 1 << 20

// ParseDescription reads a description. Settings that do not exist are errors, so that
// a misspelt one is noticed.
func ParseDescription(text []byte) (*Description, error) {
	if len(text) > MaxDescription {
		return nil, fmt.Errorf("description of %d bytes, expected at most %d", len(text), MaxDescription)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var v Description
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("description: %w", inJSON(err, text))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("description: expected one JSON object, found more after byte %d", d.InputOffset())
	}
	if err := v.validate(); err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	sum := sha256.Sum256(text)
	v.sum = hex.EncodeToString(sum[:])[:12]
	v.text = bytes.Clone(text)
	return &v, nil
}

// inJSON says what is wrong in words of the file.
func inJSON(err error, text []byte) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(text[:min(int(e.Offset), len(text))], []byte("\n"))
		return fmt.Errorf("line %d is not JSON: %w", line, err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: expected %s, found %s", e.Field, e.Type, e.Value)
	}
	if _, name, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return fmt.Errorf("there is no setting %s; docs/models.md lists them", name)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("expected a JSON object, found the end of the file")
	}
	return err
}

func (d *Description) validate() error {
	in, out := &d.Input, &d.Output
	word := func(name, v string, all []string) error {
		if v != "" && !slices.Contains(all, v) {
			return fmt.Errorf("%s: expected one of %s, found %q", name, strings.Join(all, ", "), v)
		}
		return nil
	}
	within := func(name string, v, least, most float64) error {
		if !(v >= least && v <= most) {
			return fmt.Errorf("%s: expected %g to %g, found %g", name, least, most, v)
		}
		return nil
	}
	errs := []error{
		word("head", d.Head, familyNames()), word("input.layout", in.Layout, layouts), word("input.color", in.Color, colors),
		word("input.fit", in.Fit, fits), word("output.boxes", out.Boxes, boxOrders), word("output.units", out.Units, units),
		word("output.scores", out.Scores, activations), word("output.background", out.Background, backgrounds),
		within("input.width", float64(in.Width), 0, media.MaxViewSide), within("input.height", float64(in.Height), 0, media.MaxViewSide),
		within("output.scale", float64(out.Scale), 0, media.MaxViewSide), within("output.bins", float64(out.Bins), 0, 64),
	}
	if in.Fill != nil {
		errs = append(errs, within("input.fill", float64(*in.Fill), 0, 255))
	}
	if in.Std != nil {
		for _, v := range in.Std {
			errs = append(errs, within("input.std", float64(v), math.SmallestNonzeroFloat32, math.MaxFloat32))
		}
	}
	if out.FirstClass != nil {
		errs = append(errs, within("output.firstClass", float64(*out.FirstClass), 0, 1<<20))
	}
	if out.Offset != nil {
		errs = append(errs, within("output.offset", float64(*out.Offset), 0, 1))
	}
	for _, s := range slices.Concat(out.Strides, out.AnchorStrides) {
		errs = append(errs, within("strides", float64(s), 1, 1024))
	}
	if d.Labels != nil && len(d.Labels) == 0 {
		errs = append(errs, errors.New("labels: expected at least one, found none"))
	}
	if i := slices.Index(d.Labels, ""); i >= 0 {
		errs = append(errs, fmt.Errorf("labels: expected a name for each class, found an empty one for class %d", i))
	}
	return errors.Join(errs...)
}

// either is the place of a word, or else if there is none.
func either[T ~uint8](word string, all []string, otherwise T) T {
	if i := slices.Index(all, word); i >= 0 {
		return T(i)
	}
	return otherwise
}

// SHA256 is the checksum of a file in hex. It is computed in pieces: one of a whole model is
// one long call that cannot be interrupted, for which the collector would wait, and all
// for it.
func SHA256(b []byte) string {
	sum := sha256.New()
	for piece := range slices.Chunk(b, 64<<10) {
		sum.Write(piece)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

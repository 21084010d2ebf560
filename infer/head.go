package infer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Candidate is a box before NMS, in input pixels (corners).
type Candidate struct {
	X1, Y1, X2, Y2 float32
	Score          float32
	Class          int32
}

// Head reads a network's raw outputs. There are four kinds: [Dense], [Scored], [GFL]
// and [Listed]; a family of networks is one of them with its settings. Heads are
// immutable and shared.
type Head interface {
	// Decode appends the candidates of image i whose score is at least threshold.
	// It must not allocate once dst is large enough.
	Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate
	// Check says what in the outputs of image i, of any picture, cannot come from a
	// network of this kind.
	Check(e Engine, i int) error
}

// BoxOrder is the meaning of a box's four numbers.
type BoxOrder uint8

// The orders of boxes.
const (
	Corners BoxOrder = iota // x1 y1 x2 y2
	Centre                  // centre x, centre y, width, height
	RowCol                  // y1 x1 y2 x2
)

// BoxForm says how four numbers of a network are a box.
type BoxForm struct {
	Order BoxOrder
	X, Y  float32 // input pixels in a unit; 0: 1
}

// box makes a candidate of four numbers.
func (f BoxForm) box(b *[4]float32, score float32, class int) Candidate {
	x, y := cmp.Or(f.X, 1), cmp.Or(f.Y, 1)
	c := Candidate{Score: score, Class: int32(class)}
	switch f.Order {
	case Centre:
		w, h := b[2]*x/2, b[3]*y/2
		c.X1, c.Y1, c.X2, c.Y2 = b[0]*x-w, b[1]*y-h, b[0]*x+w, b[1]*y+h
	case RowCol:
		c.X1, c.Y1, c.X2, c.Y2 = b[1]*x, b[0]*y, b[3]*x, b[2]*y
	default:
		c.X1, c.Y1, c.X2, c.Y2 = b[0]*x, b[1]*y, b[2]*x, b[3]*y
	}
	return c
}

// keep appends a candidate, unless a number of it is NaN or infinite.
func keep(dst []Candidate, c Candidate) []Candidate {
	if c.finite() {
		dst = append(dst, c)
	}
	return dst
}

// finite says that no number of the candidate is NaN or infinite.
func (c *Candidate) finite() bool {
	// 0·x is 0 for finite x and NaN otherwise, and NaN stays NaN in a sum.
	return 0*c.X1+0*c.Y1+0*c.X2+0*c.Y2+0*c.Score == 0
}

// any16 says whether one of sixteen values is at least least. NaN never is. Nearly
// every block of scores has none: sixteen compares without a bounds check or a store
// find that out.
func any16(s *[16]float32, least float32) bool {
	return s[0] >= least || s[1] >= least || s[2] >= least || s[3] >= least ||
		s[4] >= least || s[5] >= least || s[6] >= least || s[7] >= least ||
		s[8] >= least || s[9] >= least || s[10] >= least || s[11] >= least ||
		s[12] >= least || s[13] >= least || s[14] >= least || s[15] >= least
}

// Cell is where a network's grid has an anchor.
type Cell struct {
	X, Y   float32
	Stride float32 // input pixels
}

// Grid are the cells of an input, level by level, row by row. offset is where in a
// cell its point lies: 0 the corner, 0.5 the middle.
func Grid(width, height int, strides []int, offset float32) []Cell {
	var cells []Cell
	for _, s := range strides {
		for y := range (height + s - 1) / s {
			for x := range (width + s - 1) / s {
				cells = append(cells, Cell{float32(x) + offset, float32(y) + offset, float32(s)})
			}
		}
	}
	return cells
}

// output is image i's row of output k, if it has the length that the head reads.
func output(e Engine, k, i, want int) ([]float32, error) {
	name, out := e.Model().Outputs[k].Name, e.Output(k, i)
	if len(out) != want {
		return nil, fmt.Errorf("output %s has %d values for an image, expected %d", name, len(out), want)
	}
	if slices.ContainsFunc(out, func(v float32) bool { return v != v }) {
		return nil, fmt.Errorf("output %s has values that are not numbers (NaN), expected none: the weights are damaged, or input.mean and input.std do not fit", name)
	}
	return out, nil
}

// spread finds the least and the greatest value.
type spread struct{ least, most float32 }

func newSpread() spread { return spread{float32(math.Inf(1)), float32(math.Inf(-1))} }

func (s *spread) add(values []float32) {
	for _, v := range values {
		s.least, s.most = min(s.least, v), max(s.most, v)
	}
}

// probabilities says so if the scores seen are none. Rounding is allowed for.
func (s spread) probabilities(name string) error {
	if s.least < -0.01 || s.most > 1.01 {
		return fmt.Errorf("the scores in output %s reach from %.3g to %.3g, expected 0 to 1; if sigmoid or softmax is still to be applied, say so as output.scores in the description", name, s.least, s.most)
	}
	return nil
}

// unit says so if the coordinates seen cannot be in the unit of the form.
func (s spread) unit(f BoxForm, name string) error {
	switch {
	case f.X <= 1 && s.most > 0 && s.most <= 2:
		return fmt.Errorf("the boxes in output %s reach from %.3g to %.3g, expected pixels of the input; if they are fractions of its sides, say \"units\": \"normalised\" in the description", name, s.least, s.most)
	case f.X >= minNormalised && s.most > 8:
		return fmt.Errorf("the boxes in output %s reach from %.3g to %.3g, expected fractions of the input's sides; if they are pixels, say \"units\": \"pixels\" in the description", name, s.least, s.most)
	}
	return nil
}

// minNormalised is a scale above which a unit is a side of the input.
const minNormalised = 32

package infer

// NanoDet reads the outputs of a NanoDet whose boxes are decoded in the network:
// output 0 are scores [N,A,Classes] with the sigmoid applied, output 1 boxes
// [N,A,4] as x1, y1, x2, y2 in input pixels. Every class of an anchor that reaches
// the threshold is a candidate, in the order of the anchors, then of the classes.
type NanoDet struct{ Classes int }

// Decode implements [Head]. Values that are not finite are left out.
func (h NanoDet) Decode(e Engine, i int, threshold float32, dst []Candidate) []Candidate {
	scores, boxes := e.Output(0, i), e.Output(1, i)
	rest := scores
	for base := 0; len(rest) >= 16; base, rest = base+16, rest[16:] {
		// Nearly every block has no score above the threshold: sixteen compares
		// without a bounds check or a store find that out. NaN compares false.
		if s := (*[16]float32)(rest); s[0] >= threshold || s[1] >= threshold || s[2] >= threshold || s[3] >= threshold ||
			s[4] >= threshold || s[5] >= threshold || s[6] >= threshold || s[7] >= threshold ||
			s[8] >= threshold || s[9] >= threshold || s[10] >= threshold || s[11] >= threshold ||
			s[12] >= threshold || s[13] >= threshold || s[14] >= threshold || s[15] >= threshold {
			dst = h.collect(s[:], boxes, base, threshold, dst)
		}
	}
	return h.collect(rest, boxes, len(scores)-len(rest), threshold, dst)
}

// collect appends the candidates among some scores, the first of which has index base.
func (h NanoDet) collect(scores, boxes []float32, base int, threshold float32, dst []Candidate) []Candidate {
	for j, s := range scores {
		if !(s >= threshold) {
			continue
		}
		at := base + j
		b := (*[4]float32)(boxes[at/h.Classes*4:])
		c := Candidate{X1: b[0], Y1: b[1], X2: b[2], Y2: b[3], Score: s, Class: int32(at % h.Classes)}
		if c.finite() {
			dst = append(dst, c)
		}
	}
	return dst
}

// finite says that no number of the candidate is NaN or infinite.
func (c *Candidate) finite() bool {
	// 0·x is 0 for finite x and NaN otherwise, and NaN stays NaN in a sum.
	return 0*c.X1+0*c.Y1+0*c.X2+0*c.Y2+0*c.Score == 0
}

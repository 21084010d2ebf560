package infer

import (
	"cmp"
	"math"
	"slices"
)

// Limits of NMS. They bound the time that one frame can cost when a session asks
// for a very low threshold: at 0.05 a crowded street has 1,200 candidates, of which
// 350 are kept; at 0 it has 284,000.
const (
	// MaxCandidates is how many candidates, the best, may compete.
	MaxCandidates = 4096
	// MaxDetections is how many are kept.
	MaxDetections = 1000
)

// NMS is greedy non-maximum suppression per class. Its memory is used again, so
// that it does not allocate once it has seen as many candidates. The zero value
// is ready for use by one goroutine.
type NMS struct {
	order []ranked
	kept  []Candidate
	boxes []placed // of the kept candidates, those of a class beside each other
	class []span   // the part of boxes that belongs to a class
	count []int32  // candidates by the leading bits of their score
}

// placed is a kept box with its area.
type placed struct{ X1, Y1, X2, Y2, area float32 }

// span is from where to where a class has kept boxes.
type span struct{ from, to int32 }

// ranked is a candidate with its place among those that came in.
type ranked struct {
	Candidate
	at int32
}

// Keep returns the candidates that no better one of their class overlaps by more
// than iou, best first, clipped to the input. Equal scores are ordered by class,
// then as they came. What is not finite, or has no area inside the input, is left out.
// The result is valid until the next Keep.
func (n *NMS) Keep(candidates []Candidate, in Input, iou float32) []Candidate {
	n.rank(candidates, float32(in.Width), float32(in.Height))
	n.divide()
	n.kept = n.kept[:0]
	for i := range n.order {
		c := &n.order[i].Candidate
		of := &n.class[c.Class]
		box := placed{c.X1, c.Y1, c.X2, c.Y2, (c.X2 - c.X1) * (c.Y2 - c.Y1)}
		if iou < 1 && box.covered(n.boxes[of.from:of.to], iou) {
			continue
		}
		n.boxes[of.to] = box
		of.to++
		n.kept = append(n.kept, *c)
		if len(n.kept) == MaxDetections {
			break
		}
	}
	return n.kept
}

// divide gives every class room for the boxes that it may keep.
func (n *NMS) divide() {
	clear(n.class)
	for i := range n.order {
		for int(n.order[i].Class) >= len(n.class) {
			n.class = append(n.class, span{})
		}
		n.class[n.order[i].Class].to++ // counts, for now
	}
	from := int32(0)
	for c := range n.class {
		count := n.class[c].to
		n.class[c] = span{from, from}
		from += count
	}
	n.boxes = slices.Grow(n.boxes[:0], len(n.order))[:len(n.order)]
}

// rank fills order with the best candidates, clipped and sorted.
func (n *NMS) rank(candidates []Candidate, w, h float32) {
	n.order = n.order[:0]
	least := n.cutoff(candidates)
	for i := range candidates {
		if candidates[i].Score < least {
			continue
		}
		c := candidates[i]
		if !c.finite() || c.Class < 0 {
			continue
		}
		c.X1, c.Y1 = min(max(c.X1, 0), w), min(max(c.Y1, 0), h)
		c.X2, c.Y2 = min(max(c.X2, 0), w), min(max(c.Y2, 0), h)
		if c.X2 > c.X1 && c.Y2 > c.Y1 {
			n.order = append(n.order, ranked{c, int32(i)})
		}
	}
	if len(n.order) > MaxCandidates {
		selectBest(n.order, MaxCandidates)
		n.order = n.order[:MaxCandidates]
	}
	slices.SortFunc(n.order, compareRanked)
}

// Sign, exponent and five bits of the mantissa: buckets of 3 % of the score.
const scoreShift = 18

// cutoff is a score that at least MaxCandidates candidates reach, and not many
// more; it makes a crowd cheap. If there are fewer it is below them all.
func (n *NMS) cutoff(candidates []Candidate) float32 {
	if len(candidates) <= MaxCandidates {
		return float32(math.Inf(-1))
	}
	if n.count == nil {
		n.count = make([]int32, 1<<(31-scoreShift))
	}
	clear(n.count)
	for i := range candidates { // bits of positive floats are in the order of the floats
		if bits := math.Float32bits(candidates[i].Score); bits < math.MaxInt32 {
			n.count[bits>>scoreShift]++
		}
	}
	sum := 0
	for k := len(n.count) - 1; k > 0; k-- {
		if sum += int(n.count[k]); sum >= MaxCandidates {
			return math.Float32frombits(uint32(k) << scoreShift)
		}
	}
	return float32(math.Inf(-1))
}

func compareRanked(a, b ranked) int {
	if a.Score != b.Score {
		return cmp.Compare(b.Score, a.Score)
	}
	if a.Class != b.Class {
		return cmp.Compare(a.Class, b.Class)
	}
	return cmp.Compare(a.at, b.at)
}

// covered says whether one of the boxes overlaps b by more than iou (intersection over
// union). Most do not touch it.
func (b *placed) covered(boxes []placed, iou float32) bool {
	for i := range boxes {
		a := &boxes[i]
		// They overlap if all four differences are negative. Four branches would be
		// mispredicted more often than one: BenchmarkPost with 1,000 survivors of one
		// class takes 1.1 ms instead of 1.9.
		if int32(math.Float32bits(a.X1-b.X2)&math.Float32bits(b.X1-a.X2)&math.Float32bits(a.Y1-b.Y2)&math.Float32bits(b.Y1-a.Y2)) >= 0 { //nolint:gosec // G115: the sign is wanted
			continue
		}
		inter := (min(a.X2, b.X2) - max(a.X1, b.X1)) * (min(a.Y2, b.Y2) - max(a.Y1, b.Y1))
		if inter/(a.area+b.area-inter) > iou {
			return true
		}
	}
	return false
}

// selectBest moves the k best to the front, in no order (Hoare's quickselect).
func selectBest(s []ranked, k int) {
	for lo, hi := 0, len(s)-1; lo < hi; {
		pivot := s[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for compareRanked(s[i], pivot) < 0 {
				i++
			}
			for compareRanked(s[j], pivot) > 0 {
				j--
			}
			if i <= j {
				s[i], s[j] = s[j], s[i]
				i++
				j--
			}
		}
		switch {
		case k-1 <= j:
			hi = j
		case k-1 >= i:
			lo = i
		default:
			return
		}
	}
}

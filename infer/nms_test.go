package infer_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"detections/infer"
)

var square64 = infer.Input{Width: 64, Height: 64}

// bruteForce is the definition: of the candidates left, the best stays and removes
// those of its class that overlap it.
func bruteForce(in []infer.Candidate, iou float64) []infer.Candidate {
	var kept []infer.Candidate
	used := make([]bool, len(in))
	for {
		best := -1
		for i, c := range in {
			if used[i] || c.X1 >= c.X2 || c.Y1 >= c.Y2 {
				continue
			}
			if best < 0 || c.Score > in[best].Score || c.Score == in[best].Score && c.Class < in[best].Class {
				best = i
			}
		}
		if best < 0 {
			return kept
		}
		kept = append(kept, in[best])
		for i, c := range in {
			if c.Class == in[best].Class && iouOf(c, in[best]) > iou {
				used[i] = true
			}
		}
		used[best] = true
	}
}

func iouOf(a, b infer.Candidate) float64 {
	w := math.Min(float64(a.X2), float64(b.X2)) - math.Max(float64(a.X1), float64(b.X1))
	h := math.Min(float64(a.Y2), float64(b.Y2)) - math.Max(float64(a.Y1), float64(b.Y1))
	inter := math.Max(w, 0) * math.Max(h, 0)
	area := func(c infer.Candidate) float64 { return float64(c.X2-c.X1) * float64(c.Y2-c.Y1) }
	return inter / (area(a) + area(b) - inter)
}

func TestNMSAgreesWithItsDefinition(t *testing.T) {
	var nms infer.NMS
	rapid.Check(t, func(t *rapid.T) {
		// Small whole numbers make ties of scores and of overlaps likely, and exact.
		side := rapid.IntRange(0, 12)
		in := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) infer.Candidate {
			x, y := side.Draw(t, "x"), side.Draw(t, "y")
			return infer.Candidate{
				X1: float32(x), Y1: float32(y), X2: float32(x + side.Draw(t, "w")), Y2: float32(y + side.Draw(t, "h")),
				Score: float32(rapid.IntRange(0, 5).Draw(t, "score")) / 8, Class: int32(rapid.IntRange(0, 2).Draw(t, "class")),
			}
		}), 0, 40).Draw(t, "candidates")
		iou := rapid.SampledFrom([]float32{0, 0.25, 0.5, 1}).Draw(t, "iou")
		got, want := nms.Keep(in, square64, iou), bruteForce(in, float64(iou))
		if !slices.Equal(got, want) {
			t.Fatalf("kept\n%v, want\n%v", got, want)
		}
	})
}

// Boxes of any size, in many classes, as many as a crowd has. Overlaps that rounding
// could put on either side of the threshold are left out.
func TestNMSAgreesWithItsDefinitionInACrowd(t *testing.T) {
	var nms infer.NMS
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		iou, classes := rapid.Float32Range(0.05, 0.95).Draw(t, "iou"), rapid.IntRange(1, 90).Draw(t, "classes")
		in := make([]infer.Candidate, rapid.IntRange(0, 300).Draw(t, "candidates"))
		for i := range in {
			x, y := 48*random.Float32(), 48*random.Float32()
			in[i] = infer.Candidate{
				X1: x, Y1: y, X2: x + 1 + 15*random.Float32(), Y2: y + 1 + 15*random.Float32(),
				Score: random.Float32(), Class: int32(random.IntN(classes)),
			}
			for _, other := range in[:i] {
				if d := iouOf(in[i], other) - float64(iou); d > -1e-5 && d < 1e-5 {
					in[i] = infer.Candidate{Class: -1}
				}
			}
		}
		in = slices.DeleteFunc(in, func(c infer.Candidate) bool { return c.Class < 0 })
		got, want := nms.Keep(in, square64, iou), bruteForce(in, float64(iou))
		if !slices.Equal(got, want) {
			t.Fatalf("kept\n%v, want\n%v", got, want)
		}
	})
}

func TestNMSClipsAndDropsWhatIsNoBox(t *testing.T) {
	nan := float32(math.NaN())
	var nms infer.NMS
	got := nms.Keep([]infer.Candidate{
		{X1: -5, Y1: 60, X2: 10, Y2: 70, Score: 0.5},
		{X1: nan, Y1: 0, X2: 10, Y2: 10, Score: 0.9},
		{X1: 0, Y1: 0, X2: 10, Y2: 10, Score: nan},
		{X1: 0, Y1: 0, X2: float32(math.Inf(1)), Y2: 10, Score: 0.9},
		{X1: 70, Y1: 0, X2: 80, Y2: 10, Score: 0.9}, // outside
		{X1: 9, Y1: 0, X2: 3, Y2: 10, Score: 0.9},   // inside out
		{X1: 0, Y1: 0, X2: 10, Y2: 10, Score: 0.9, Class: -1},
	}, square64, 0.5)
	want := infer.Candidate{X1: 0, Y1: 60, X2: 10, Y2: 64, Score: 0.5}
	if len(got) != 1 || got[0] != want {
		t.Errorf("kept %v, want %v", got, want)
	}
}

// crowd are n candidates with different scores, in no order, of 1×1 pixel each.
func crowd(n int) []infer.Candidate {
	all := make([]infer.Candidate, n)
	for i := range all {
		k := (i * 7919) % n // 7919 is prime: a permutation unless it divides n
		x, y := float32(k%64), float32(k/64%64)
		all[i] = infer.Candidate{X1: x, Y1: y, X2: x + 1, Y2: y + 1, Score: float32(k+1) / float32(n), Class: int32(k / 4096)}
	}
	return all
}

func TestNMSIsBoundedAndKeepsTheBest(t *testing.T) {
	const n = 50000
	var nms infer.NMS
	got := nms.Keep(crowd(n), square64, 0.5)
	if len(got) != infer.MaxDetections {
		t.Fatalf("kept %d, want %d", len(got), infer.MaxDetections)
	}
	for i, c := range got {
		if want := float32(n-i) / n; c.Score != want {
			t.Fatalf("kept number %d has score %v, want %v", i, c.Score, want)
		}
	}
}

// Of 10,000 boxes that cover each other, two of other classes: the last that may
// compete, and the first that may not.
func TestNMSDropsWhatIsBeyondTheLimitAndNothingElse(t *testing.T) {
	const n = 10000
	candidates := make([]infer.Candidate, n)
	for i := range candidates {
		k := (i * 7919) % n // its rank from below
		candidates[i] = infer.Candidate{X2: 9, Y2: 9, Score: float32(k+1) / n}
		switch n - k {
		case infer.MaxCandidates:
			candidates[i].Class = 1
		case infer.MaxCandidates + 1:
			candidates[i].Class = 2
		}
	}
	got := new(infer.NMS).Keep(candidates, square64, 0.5)
	if len(got) != 2 || got[0].Score != 1 || got[1].Class != 1 {
		t.Errorf("kept %v, want the best and the one of class 1", got)
	}
}

func TestNMSDoesNotAllocate(t *testing.T) {
	var nms infer.NMS
	candidates := crowd(10000)
	if n := testing.AllocsPerRun(5, func() { nms.Keep(candidates, square64, 0.5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

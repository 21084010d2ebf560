package infer_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"detections/infer"
	"detections/media"
)

// drawn fills rows of numbers; a score is one of few, so that thresholds are met.
func drawn(t *rapid.T, n int, values ...float32) []float32 {
	return rapid.SliceOfN(rapid.SampledFrom(values), n, n).Draw(t, "values")
}

var (
	scores = []float32{0, 0.125, 0.25, 0.5, 0.75, 1, float32(math.NaN())}
	sides  = []float32{0, 1, 5, 16, 33, 64}
)

// sorted brings candidates into one order, whatever the head's.
func sorted(all []infer.Candidate) []infer.Candidate {
	slices.SortFunc(all, func(a, b infer.Candidate) int {
		return cmp.Or(cmp.Compare(a.X1, b.X1), cmp.Compare(a.Y1, b.Y1), cmp.Compare(a.X2, b.X2), cmp.Compare(a.Y2, b.Y2), cmp.Compare(a.Score, b.Score), cmp.Compare(a.Class, b.Class))
	})
	return all
}

// TestDenseAgreesWithItsDefinition: of every anchor the best class, read by name of
// anchor and number, in rows and in columns, with objectness and without.
func TestDenseAgreesWithItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		anchors, classes := rapid.IntRange(1, 150).Draw(t, "anchors"), rapid.IntRange(1, 20).Draw(t, "classes")
		columns, objectness := rapid.Bool().Draw(t, "columns"), rapid.Bool().Draw(t, "objectness")
		objectness = objectness && !columns
		first := 4
		if objectness {
			first = 5
		}
		width := first + classes
		out := drawn(t, anchors*width, scores...)
		at := func(a, k int) *float32 {
			if columns {
				return &out[k*anchors+a]
			}
			return &out[a*width+k]
		}
		threshold := rapid.SampledFrom([]float32{0, 0.25, 0.3, 0.5, 1}).Draw(t, "threshold")
		var want []infer.Candidate
		for a := range anchors {
			for k := range 4 {
				*at(a, k) = float32(16 * (1 + (a*7+k*3)%5))
			}
			best, class := float32(-1), -1
			for c := range classes {
				if s := *at(a, first+c); s > best {
					best, class = s, c
				}
			}
			if objectness {
				best *= *at(a, 4)
			}
			if class >= 0 && best >= threshold {
				x, y, w, h := *at(a, 0), *at(a, 1), *at(a, 2), *at(a, 3)
				want = append(want, infer.Candidate{X1: x - w/2, Y1: y - h/2, X2: x + w/2, Y2: y + h/2, Score: best, Class: int32(class)})
			}
		}
		h := infer.Dense{Box: infer.BoxForm{Order: infer.Centre}, Anchors: anchors, Classes: classes, Columns: columns, Objectness: objectness}
		if got := h.Decode(&network{out: [][]float32{out}}, 0, threshold, nil); !slices.Equal(sorted(got), sorted(want)) {
			t.Fatalf("found\n%v, want\n%v", got, want)
		}
	})
}

// TestScoredAgreesWithItsDefinition: every class whose activated score reaches the
// threshold. Scores within rounding of the threshold may be on either side.
func TestScoredAgreesWithItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		anchors, classes := rapid.IntRange(1, 60).Draw(t, "anchors"), rapid.IntRange(1, 20).Draw(t, "classes")
		h := infer.Scored{
			Anchors: anchors, Classes: classes, Width: rapid.IntRange(4, 6).Draw(t, "width"),
			Activation: rapid.SampledFrom([]infer.Activation{infer.Sigmoid, infer.Softmax}).Draw(t, "activation"),
			Background: rapid.SampledFrom([]infer.Background{infer.NoBackground, infer.BackgroundFirst, infer.BackgroundLast}).Draw(t, "background"),
		}
		columns, skip := classes, 0
		if h.Background != infer.NoBackground {
			columns++
		}
		if h.Background == infer.BackgroundFirst {
			skip = 1
		}
		logits, boxes := drawn(t, anchors*columns, -90, -2, -1, 0, 0.5, 2, 3, 90), drawn(t, anchors*h.Width, sides...)
		threshold := rapid.Float32Range(0.01, 0.99).Draw(t, "threshold")
		got := h.Decode(&network{out: [][]float32{logits, boxes}}, 0, threshold, nil)
		for a := range anchors {
			row := logits[a*columns:][:columns]
			for c := range classes {
				p := activated(h.Activation, row, skip+c)
				i := slices.IndexFunc(got, func(g infer.Candidate) bool {
					return int(g.Class) == c && math.Abs(float64(g.Score)-p) < 1e-5 && [4]float32{g.X1, g.Y1, g.X2, g.Y2} == [4]float32(boxes[a*h.Width:])
				})
				switch {
				case i >= 0:
					got = slices.Delete(got, i, i+1)
				case p > float64(threshold)+1e-5:
					t.Fatalf("class %d of anchor %d with %v is missing", c, a, p)
				}
			}
		}
		for _, g := range got {
			t.Fatalf("%v is not there", g)
		}
	})
}

// activated is the definition of sigmoid and softmax.
func activated(a infer.Activation, row []float32, k int) float64 {
	if a == infer.Sigmoid {
		return 1 / (1 + math.Exp(-float64(row[k])))
	}
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(float64(v) - float64(row[k]))
	}
	return 1 / sum
}

// A network that gives each object once is believed; of another, NMS keeps the best.
func TestNMSIsLeftOutWhereTheNetworkHasNoNeedOfIt(t *testing.T) {
	out := []float32{10, 10, 40, 40, 0.8, 0, 11, 10, 41, 40, 0.9, 0, 10, 10, 40, 40, 0.2, 0}
	e := &network{out: [][]float32{out}, model: &infer.Model{Input: infer.Input{Width: 64, Height: 64}, Head: infer.Listed{Max: 3, Classes: 1}}}
	for _, single := range []bool{true, false} {
		e.model.Single = single
		got := new(infer.Postprocessor).Detect(e, 0, &infer.Detect{Threshold: 0.5, IoU: 0.5}, media.View{Width: 64, Height: 64}.Place(64, 64))
		want := 1
		if single {
			want = 2
		}
		if len(got) != want || got[0].Confidence != 0.9 {
			t.Errorf("single %v: found %v", single, got)
		}
	}
}

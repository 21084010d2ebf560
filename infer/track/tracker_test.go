package track

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/infer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// body is an object that moves, in pixels and pixels per second.
type body struct {
	class        int
	x, y, vx, vy float64
	from, to     int // frames in which it can be seen
	faint        [2]int
}

const side = 40

func (b body) at(t float64) infer.Detection {
	return infer.Detection{Class: b.class, Confidence: 0.9, Box: infer.Box{X: float32(b.x + b.vx*t), Y: float32(b.y + b.vy*t), W: side, H: 2 * side}}
}

// film gives the numbers that every body got, frame by frame; −1: it was not seen.
func film(t *Tracker, fps float64, frames int, noise float64, bodies ...body) [][]int64 {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([][]int64, len(bodies))
	for f := range frames {
		var seen, faint []infer.Detection
		var who []int
		for i, b := range bodies {
			d := b.at(float64(f) / fps)
			d.Box.X += float32(noise * rng.NormFloat64())
			d.Box.Y += float32(noise * rng.NormFloat64())
			switch {
			case f < b.from || f >= b.to:
			case f >= b.faint[0] && f < b.faint[1]:
				faint = append(faint, d)
			default:
				seen, who = append(seen, d), append(who, i)
			}
			all[i] = append(all[i], -1)
		}
		t.Update(time.Duration(float64(f)/fps*1e9), seen, faint)
		for k, i := range who {
			all[i][f] = seen[k].Track
		}
	}
	return all
}

// numbers are the different ones, in order; what was not seen is left out.
func numbers(of []int64) []int64 {
	of = slices.DeleteFunc(slices.Clone(of), func(n int64) bool { return n < 0 })
	return slices.Compact(of)
}

func TestAnObjectKeepsItsNumber(t *testing.T) {
	for name, c := range map[string]struct {
		fps    float64
		noise  float64
		bodies []body
		want   [][]int64 // 0: seen for the first time
	}{
		"standing":            {10, 1, []body{{x: 100, y: 100, to: 60}}, [][]int64{{0, 1}}},
		"walking, 2 fps":      {2, 1, []body{{x: 100, y: 100, vx: 30, to: 60}}, [][]int64{{0, 1}}},
		"running, 10 fps":     {10, 1, []body{{x: 100, y: 100, vx: 200, to: 60}}, [][]int64{{0, 1}}},
		"two cross":           {10, 1, []body{{x: 0, y: 100, vx: 60, to: 60}, {x: 300, y: 110, vx: -60, to: 60}}, [][]int64{{0, 1}, {0, 2}}},
		"behind something":    {10, 1, []body{{x: 0, y: 100, vx: 60, to: 20}, {x: 0, y: 100, vx: 60, from: 32, to: 60}}, [][]int64{{0, 1}, {1}}},
		"gone for too long":   {10, 1, []body{{x: 0, y: 100, to: 20}, {x: 0, y: 100, from: 37, to: 60}}, [][]int64{{0, 1}, {0, 2}}},
		"faint for a while":   {10, 1, []body{{x: 0, y: 100, vx: 100, to: 60, faint: [2]int{10, 50}}}, [][]int64{{0, 1}}},
		"never more than":     {10, 0, []body{{x: 0, y: 100, to: 60, faint: [2]int{0, 60}}}, [][]int64{nil}},
		"of two classes":      {10, 0, []body{{x: 0, y: 100, to: 60}, {class: 1, x: 0, y: 100, to: 60}}, [][]int64{{0, 1}, {0, 2}}},
		"side by side":        {10, 2, []body{{x: 100, y: 100, to: 60}, {x: 130, y: 100, to: 60}}, [][]int64{{0, 1}, {0, 2}}},
		"a flicker":           {10, 0, []body{{x: 0, y: 0, from: 5, to: 6}, {x: 500, y: 0, from: 8, to: 60}}, [][]int64{{0}, {0, 1}}},
		"small and fast":      {5, 0, []body{{x: 0, y: 100, vx: 220, to: 30}}, [][]int64{{0, 1}}},
		"one frame in 5 s":    {0.2, 0, []body{{x: 100, y: 100, to: 20}}, [][]int64{{0, 1}}},
		"missing for 2 of 5s": {0.2, 0, []body{{x: 100, y: 100, to: 5}, {x: 100, y: 100, from: 7, to: 20}}, [][]int64{{0, 1}, {1}}},
	} {
		t.Run(name, func(t *testing.T) {
			for i, got := range film(new(Tracker), c.fps, 60, c.noise, c.bodies...) {
				if got := numbers(got); !slices.Equal(got, c.want[i]) {
					t.Errorf("object %d has numbers %v, want %v", i, got, c.want[i])
				}
			}
		})
	}
}

// random is a frame of boxes that overlap a lot.
func random(rng *rand.Rand) (seen, faint []infer.Detection) {
	for range rng.IntN(30) {
		d := infer.Detection{
			Class: rng.IntN(3), Confidence: 0.1 + 0.9*rng.Float32(),
			Box: infer.Box{X: 300 * rng.Float32(), Y: 300 * rng.Float32(), W: 20 + 80*rng.Float32(), H: 20 + 80*rng.Float32()},
		}
		if d.Confidence > 0.4 {
			seen = append(seen, d)
		} else {
			faint = append(faint, d)
		}
	}
	return seen, faint
}

// TestAnotherTrackerGoesOn: from a state, or from one and what was recorded since.
func TestAnotherTrackerGoesOn(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var one, other Tracker
		var state []byte
		for f := range 200 {
			at := time.Duration(f) * 40 * time.Millisecond
			if rng.IntN(40) == 0 {
				at -= time.Second // times jump
			}
			seen, faint := random(rng)
			one.Update(at, seen, faint)
			// What clients are told has hundredths of a pixel.
			told := slices.Clone(seen)
			for i := range told {
				told[i].Box, told[i].Track = rounded(told[i].Box), -1
			}
			if err := other.Again(at, told, one.AppendUsed(nil)); err != nil {
				t.Fatal(err)
			}
			for i := range seen {
				if told[i].Track != seen[i].Track {
					t.Fatalf("seed %d, frame %d: number %d, not %d", seed, f, told[i].Track, seen[i].Track)
				}
			}
			state = one.AppendState(state[:0])
			if !slices.Equal(state, other.AppendState(nil)) {
				t.Fatalf("seed %d, frame %d: another state", seed, f)
			}
			if rng.IntN(10) == 0 {
				other = Tracker{}
				if err := other.Restore(state); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestNumbersAreNeverGivenTwice(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 0))
	var tr Tracker
	given := map[int64]int{} // in which of the videos
	for f := range 500 {
		if f%100 == 0 {
			tr.Reset()
		}
		seen, faint := random(rng)
		tr.Update(time.Duration(f%100)*40*time.Millisecond, seen, faint)
		in := map[int64]bool{}
		for _, d := range seen {
			if d.Track == 0 {
				continue
			}
			if first, ok := given[d.Track]; ok && first != f/100 || in[d.Track] {
				t.Fatalf("frame %d: number %d again", f, d.Track)
			}
			given[d.Track], in[d.Track] = f/100, true
		}
	}
	if len(given) < 100 {
		t.Errorf("%d numbers", len(given))
	}
}

func TestWhatIsNoStateIsRefused(t *testing.T) {
	var tr Tracker
	film(&tr, 10, 20, 1, body{to: 20}, body{x: 100, to: 20, faint: [2]int{19, 20}})
	state, used := tr.AppendState(nil), tr.AppendUsed(nil)
	before := tr.AppendState(nil)
	for n := range state {
		if new(Tracker).Restore(state[:n]) == nil {
			t.Errorf("the first %d of %d bytes were taken", n, len(state))
		}
	}
	for n := range used {
		if tr.Again(0, nil, used[:n]) == nil {
			t.Errorf("the first %d of %d bytes were taken", n, len(used))
		}
	}
	if tr.Restore(append(state, 0)) == nil || tr.Restore(used) == nil || tr.Again(0, nil, state) == nil || tr.Restore([]byte{stateForm, 0, 0, 0xff, 0xff, 0xff, 0x7f}) == nil {
		t.Error("taken")
	}
	if !slices.Equal(before, tr.AppendState(nil)) {
		t.Error("what was refused changed something")
	}
	if !IsState(state) || IsState(used) || IsState(nil) {
		t.Error("which is which")
	}
}

// TestAbsurdBoxesDoNoHarm: whatever the network says, numbers stay numbers.
func TestAbsurdBoxesDoNoHarm(t *testing.T) {
	var tr Tracker
	big := float32(math.MaxFloat32)
	boxes := []infer.Box{{}, {W: 1e-30, H: 1e-30}, {X: 1e30, Y: 1e30, W: 1e30, H: 1e30}, {X: -1, Y: -1, W: 10, H: 10}, {W: big, H: big}}
	for f := range 50 {
		var seen []infer.Detection
		for _, b := range boxes {
			seen = append(seen, infer.Detection{Box: b})
		}
		tr.Update(time.Duration(f)*time.Hour, seen, seen)
	}
	tr.Update(math.MaxInt64, nil, nil)
	tr.Update(math.MinInt64, nil, nil)
	for range 10 {
		seen := []infer.Detection{{Box: infer.Box{X: 50, Y: 50, W: 10, H: 10}}}
		tr.Update(0, seen, nil)
		if f := tr.tracks; len(f) > 0 && seen[0].Track == 0 && f[len(f)-1].number != 0 {
			t.Errorf("%+v", seen)
		}
	}
}

func TestATrackerDoesNotAllocate(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 0))
	type frame struct{ seen, faint []infer.Detection }
	var frames []frame
	for range 50 {
		seen, faint := random(rng)
		frames = append(frames, frame{seen, faint})
	}
	var tr Tracker
	n := 0
	step := func() {
		f := frames[n%len(frames)]
		tr.Update(time.Duration(n)*40*time.Millisecond, f.seen, f.faint)
		n++
	}
	for range 200 {
		step()
	}
	if got := testing.AllocsPerRun(200, step); got > 0 {
		t.Errorf("%v allocations for a frame", got)
	}
}

func BenchmarkTracker(b *testing.B) {
	for name, n := range map[string]int{"10 objects": 10, "100 objects": 100} {
		b.Run(name, func(b *testing.B) {
			var tr Tracker
			var seen []infer.Detection
			for i := range n {
				seen = append(seen, body{x: float64(i%20) * 50, y: float64(i/20) * 100}.at(0))
			}
			for i := 0; b.Loop(); i++ {
				tr.Update(time.Duration(i)*40*time.Millisecond, seen, nil)
			}
		})
	}
}

func TestTheFilterIsThatOfTheTextbook(t *testing.T) {
	// One step of predict and correct by matrices, worked out by hand: P = [4 1; 1 9],
	// dt 0.5, q 2, r 3, measured 7 where 6 is expected.
	f := filter{value: 5, velocity: 2, vv: 4, vw: 1, ww: 9}
	f.predict(0.5, 2)
	want := filter{value: 6, velocity: 2, vv: 4 + 1 + 2.25 + 0.03125, vw: 1 + 4.5 + 0.125, ww: 9 + 0.5}
	if f != want {
		t.Fatalf("predicted %+v, want %+v", f, want)
	}
	f.correct(7, 3)
	s := want.vv + 3
	want = filter{
		value: 6 + want.vv/s, velocity: 2 + want.vw/s,
		vv: want.vv - want.vv*want.vv/s, vw: want.vw - want.vv*want.vw/s, ww: want.ww - want.vw*want.vw/s,
	}
	a, b := reflect.ValueOf(f), reflect.ValueOf(want)
	for i := range a.NumField() {
		if math.Abs(a.Field(i).Float()-b.Field(i).Float()) > 1e-12 {
			t.Errorf("corrected %+v, want %+v", f, want)
		}
	}
}

package session_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// crowd is an engine that sees squares move by, each with its own confidence, which
// sometimes is faint. What it sees depends on the frame alone.
func crowd() infertest.Config {
	return infertest.Config{Price: infertest.Price{Run: 3 * ms}, MaxBatch: 1, After: func(e *infertest.Engine, n int) {
		for i := range n {
			frame := e.Tag(i)
			scores, boxes := e.Output(0, i), e.Output(1, i)
			clear(scores)
			for k := range 5 {
				rng := rand.New(rand.NewPCG(uint64(frame), uint64(k)))
				scores[k*len(infertest.Labels)+k%2] = []float32{0.9, 0.8, 0.3, 0.2, 0.05}[rng.IntN(5)]
				x := float32((int(frame)*(k+1)/2 + 7*k) % 24)
				copy(boxes[k*4:], []float32{x, float32(5 * k), x + 8, float32(5*k) + 6})
			}
		}
	}}
}

func tracked(events []event) (numbers map[int64]int) {
	numbers = map[int64]int{}
	for _, e := range results(events) {
		for _, d := range e.Detections {
			if d.Track != 0 {
				numbers[d.Track]++
			}
		}
	}
	return numbers
}

func TestFollowedObjectsAreNumberedAndElseNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(track bool) []event {
			r := begin(t, options{staged: true, start: wire.Start{Track: track}, engines: []infertest.Config{crowd()}})
			r.upload(video(200))
			events, _ := r.finish()
			return events
		}
		plain, followed := run(false), run(true)
		if n := tracked(followed); len(n) < 5 || len(tracked(plain)) != 0 {
			t.Errorf("objects %v, and %v where nothing was to be followed", n, tracked(plain))
		}
		for _, e := range results(followed) {
			for k := range e.Detections {
				e.Detections[k].Track = 0
			}
		}
		if !reflect.DeepEqual(results(plain), results(followed)) {
			t.Error("following objects changed what was detected")
		}
	})
}

// TestObjectsKeepTheirNumbersOverLives: whenever a life ends, and whatever is changed
// on the way.
func TestObjectsKeepTheirNumbersOverLives(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 9))
				o := options{staged: true, start: wire.Start{Track: true}, engines: []infertest.Config{crowd()}, decoders: sessiontest.Config{Cost: ms}}
				if seed%2 == 1 { // classes with thresholds of their own
					o.engines[0].Thresholds = []float32{0.25, 0.85, infer.DefaultThreshold}
				}
				if seed%4 == 3 { // which do not hold for who asks
					o.start.Detect = &wire.Detect{Threshold: new(infer.DefaultThreshold)}
				}
				golden := begin(t, o)
				golden.upload(video(400))
				want, _ := golden.finish()

				l := newLives(t, o)
				r := l.next()
				r.upload(video(400))
				for {
					time.Sleep(time.Duration(20+rng.IntN(600)) * ms)
					l.suspend(r)
					if r.Status().End != nil {
						break
					}
					r = l.next()
				}
				if got := r.events(); !reflect.DeepEqual(untimed(got), untimed(want)) {
					i := slices.IndexFunc(got, func(e event) bool { return !reflect.DeepEqual(e, want[e.Offset-1]) })
					t.Errorf("event %d is\n%+v, not\n%+v", i+1, got[i], want[i])
				}
			})
		})
	}
}

func TestFollowingCanBeTurnedOffAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{staged: true, engines: []infertest.Config{crowd()}})
		r := l.next()
		var had []int64 // the largest number by then
		for i, on := range []bool{true, false, true} {
			synctest.Wait()
			r.configure(wire.Configure{ID: fmt.Sprint(i), Track: new(on)})
			r.send(video(100))
			time.Sleep(time.Second)
			most := int64(0)
			for n := range tracked(r.events()) {
				most = max(most, n)
			}
			had = append(had, most)
			l.suspend(r)
			r = l.next()
		}
		r.feeder.EOF()
		events, _ := r.finish()
		if had[0] == 0 || had[1] != had[0] || had[2] <= had[1] {
			t.Errorf("largest numbers %v", had)
		}
		if c := configured(events); len(c) != 4 || !c[1].Track || c[2].Track || !c[3].Track {
			t.Errorf("configured %+v", c)
		}
		for _, e := range results(events) {
			for _, d := range e.Detections {
				if on := (e.Frame < 100 || e.Frame >= 200); d.Track != 0 && (!on || e.Frame >= 200 && d.Track <= had[0]) {
					t.Errorf("frame %d has object %d", e.Frame, d.Track)
				}
			}
		}
	})
}

package session_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// fleet is an Inference whose engines are replaced.
type fleet struct {
	mu    sync.Mutex
	now   *infer.Batcher
	moved chan struct{}
	holds map[*infer.Batcher]int
	wants []session.Want
}

func newFleet(b *infer.Batcher) *fleet {
	return &fleet{now: b, moved: make(chan struct{}), holds: map[*infer.Batcher]int{}}
}

func (f *fleet) Acquire(_ context.Context, w session.Want, _ func(wire.AI)) (*session.Hold, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.now
	f.holds[b]++
	f.wants = append(f.wants, w)
	return &session.Hold{Batcher: b, Moved: f.moved, Release: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.holds[b]--
	}}, nil
}

// use lets other engines serve, and closes the old ones once nobody holds them.
func (f *fleet) use(t *testing.T, b *infer.Batcher) {
	t.Helper()
	f.mu.Lock()
	old := f.now
	f.now = b
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
	synctest.Wait()
	f.mu.Lock()
	n := f.holds[old]
	f.mu.Unlock()
	if n != 0 {
		t.Errorf("%d hold the old engines", n)
	}
	must(t, old.Close())
}

// of is a Batcher of a version of the fake network.
func of(t *testing.T, m *infer.Model, c infertest.Config) *infer.Batcher {
	t.Helper()
	c.Model = m
	return batcher(t, []infertest.Config{c, c}, nil)
}

// Whatever is in flight, and in both modes, every frame has one result, and each change
// of engines is configured once, right before the first result of the new ones.
func TestEnginesAreReplacedBetweenTwoFrames(t *testing.T) {
	for _, mode := range []wire.Mode{wire.File, wire.Live} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := infertest.Config{Price: infertest.Price{Run: 17 * ms}, MaxBatch: 2}
				f := newFleet(of(t, infertest.Other("0"), c))
				r := begin(t, options{inference: f, start: wire.Start{Mode: mode}, decoders: sessiontest.Config{Cost: 5 * ms, Slots: 8}})
				r.upload(video(600))
				for i := range 10 {
					time.Sleep(time.Duration(100+13*i) * ms)
					c.Provider = fmt.Sprint("better", i)
					f.use(t, of(t, infertest.Other("0"), c))
				}
				events, end := r.finish()
				must(t, f.now.Close())
				all := configured(events)
				if len(all) != 11 || mode == wire.File && end.Accounting.Inferred != 600 {
					t.Errorf("%d configured, end %+v", len(all), end)
				}
				for i, e := range events {
					if e.Type == wire.TypeConfigured && i > 0 && events[i+1].Frame != e.Frame {
						t.Errorf("configured from frame %d before frame %d", e.Frame, events[i+1].Frame)
					}
				}
				if w := f.wants[1]; w.Keep != (mode == wire.File) || w.Model != infertest.Other("0").Key() {
					t.Errorf("it wants %+v", w)
				}
			})
		})
	}
}

// Another model may take other pictures, and lack labels that were asked for.
func TestALiveSessionGetsPicturesAsAnotherModelTakesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(of(t, infertest.Other("0"), infertest.Config{Price: infertest.Price{Run: 5 * ms}}))
		r := begin(t, options{
			inference: f, decoders: sessiontest.Config{Cost: 10 * ms},
			start: wire.Start{Mode: wire.Live, Detect: &wire.Detect{Labels: []string{"green"}}},
		})
		r.send(video(50))
		time.Sleep(203 * ms)
		grey := infertest.Other("grey")
		grey.Input.Fill = 114
		grey.Labels = []string{"blue", "red", "green"}
		f.use(t, of(t, grey, infertest.Config{Price: infertest.Price{Run: 5 * ms}}))
		time.Sleep(100 * ms)
		none := infertest.Other("none")
		none.Labels = []string{"cyan", "magenta", "yellow"}
		f.use(t, of(t, none, infertest.Config{}))
		r.feeder.EOF()
		must(t, <-r.ran)
		r.close()
		must(t, f.now.Close())
		events := r.events()
		var at []int64
		for _, e := range configured(events) {
			at = append(at, e.Frame)
		}
		got := frames(events)
		if len(at) != 3 || len(got) < 45 || !slices.IsSorted(got) || got[len(got)-1] != 49 {
			t.Errorf("configured from frames %v, results %v", at, got)
		}
		for _, e := range results(events) {
			want := e.Frame%3 == 1
			if e.Frame >= at[1] { // it calls the third class green
				want = e.Frame%3 == 2
			}
			if e.Frame >= at[2] {
				want = false
			}
			if found := len(e.Detections) == 1; found != want || e.Error != nil {
				t.Errorf("frame %d: %+v, configured from %v", e.Frame, e, at)
			}
		}
		if views := r.decoders.Views(); !slices.EqualFunc(views, []byte{0, 114, 0}, func(v media.View, fill byte) bool { return v.Fill == fill }) {
			t.Errorf("views %+v", views)
		}
	})
}

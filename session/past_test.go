package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/timeline"
	"detections/infer/infertest"
	"detections/media/spool"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// untimed are events as they are, however long anything took.
func untimed(events []event) []event {
	out := append([]event(nil), events...)
	for i := range out {
		out[i].Engine.Model = ""
	}
	return out
}

// lives runs one session as many processes would, one after the other.
type lives struct {
	t     *testing.T
	o     options
	path  string
	store timeline.Store
	sent  int
}

func newLives(t *testing.T, o options) *lives {
	l := &lives{t: t, o: o, path: filepath.Join(t.TempDir(), "s.media"), store: timeline.NewMemory()}
	must(t, l.store.Create(t.Context(), timeline.Meta{ID: "s"}))
	return l
}

// next begins a life with what the one before it left.
func (l *lives) next() *rig {
	l.t.Helper()
	ctx := context.Background()
	st, err := l.store.Status(ctx, "s")
	must(l.t, err)
	o := l.o
	o.store = l.store
	if st.Term == 0 {
		o.spool, err = spool.Create(l.path)
		must(l.t, err)
		return begin(l.t, o)
	}
	o.past, err = session.Recall(ctx, st.Offset, func(ctx context.Context, after uint64, limit int) ([]session.Line, error) {
		recs, err := l.store.Read(ctx, "s", after, limit)
		lines := make([]session.Line, len(recs))
		for i, r := range recs {
			lines[i] = session.Line{Event: r.Event, Replay: r.Replay}
		}
		return lines, err
	})
	must(l.t, err)
	o.past.Complete = st.Input.Final
	o.spool, err = spool.Open(l.path, st.Input.Bytes)
	must(l.t, err)
	l.sent = int(st.Input.Bytes)
	return begin(l.t, o)
}

// suspend ends a life.
func (l *lives) suspend(r *rig) {
	l.t.Helper()
	r.Suspend()
	must(l.t, <-r.ran)
	if !r.Suspended() && r.Status().End == nil {
		l.t.Error("neither suspended nor ended")
	}
	must(l.t, r.spool.Flush())
	r.close()
}

func TestLivesGiveTheResultsOfOne(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 4))
				video := randomVideo(rng, 80)
				o := options{
					start:    wire.Start{Sample: []*wire.Sample{nil, {Every: 3}, {FPS: 7}}[rng.IntN(3)]},
					decoders: sessiontest.Config{Cost: time.Duration(rng.IntN(3)) * ms},
					engines: []infertest.Config{
						{Price: infertest.Price{Run: 4 * ms}, MaxBatch: 1 + rng.IntN(3)},
						{Price: infertest.Price{Run: 7 * ms}, MaxBatch: 1},
					},
				}
				golden := begin(t, o)
				golden.upload(video)
				want, _ := golden.finish()

				l := newLives(t, o)
				for r := l.next(); ; r = l.next() {
					if n := rng.IntN(40); l.sent < len(video) {
						n = min(n, len(video)-l.sent)
						r.send(video[l.sent : l.sent+n])
						if l.sent+n == len(video) {
							r.feeder.EOF()
						}
					} else if rng.IntN(2) == 0 {
						r.feeder.EOF() // again, or at last
					}
					time.Sleep(time.Duration(rng.IntN(150)) * ms)
					l.suspend(r)
					if r.Status().End != nil {
						got := r.events()
						if !reflect.DeepEqual(untimed(got), untimed(want)) {
							t.Errorf("%s: %d events, want %d:\n%+v\n%+v", video, len(got), len(want), got[len(got)-1], want[len(want)-1])
						}
						return
					}
				}
			})
		})
	}
}

func randomVideo(rng *rand.Rand, n int) string {
	b := []byte("K")
	for range n {
		b = append(b, "Kppppppppx"[rng.IntN(10)])
	}
	return string(b)
}

func TestADecoderThatDiesIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{decoders: sessiontest.Config{Deaths: 2}})
		r.upload("Kppp!ppp!pp")
		if events, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Inferred != 11 || len(events) != 13 {
			t.Errorf("end %+v", end)
		}
	})
}

// A change takes effect once, wherever the life ends; one that had not was not
// confirmed, and the client asks again.
func TestConfigurationGoesOnInTheNextLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{
			engines: []infertest.Config{{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1}},
			start:   wire.Start{Detect: &wire.Detect{Labels: []string{"red", "blue"}, Threshold: new(0.123456)}},
		})
		r := l.next()
		r.send(video(5))
		time.Sleep(100 * ms)
		must(t, r.Configure(&wire.Configure{ID: "a", Sample: &wire.Sample{Every: 2}, Detect: &wire.Detect{IoU: new(0.7)}}))
		r.send("pppp")
		time.Sleep(100 * ms)
		l.suspend(r)

		r = l.next()
		r.send("pppp")
		r.feeder.EOF()
		events, end := r.finish()
		if got := fmt.Sprint(frames(events)); got != "[0 1 2 3 4 5 7 9 11]" || end.Accounting.Skipped != 4 || end.Accounting.Decoded != 13 {
			t.Errorf("frames %s, end %+v", got, end)
		}
		var configured []event
		for _, e := range events {
			if e.Type == wire.TypeConfigured {
				configured = append(configured, e)
			}
		}
		if len(configured) != 2 || configured[1].ID != "a" || configured[1].Frame != 5 {
			t.Errorf("configured %+v", configured)
		}
	})
}

// Another engine is an event before the first result that it made.
func TestAnotherEngineInTheNextLifeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{engines: []infertest.Config{{}}})
		r := l.next()
		r.send(video(3))
		time.Sleep(ms)
		l.suspend(r)
		l.o.engines = []infertest.Config{{Precision: "int8"}}
		r = l.next()
		r.upload("pp")
		events, _ := r.finish()
		var told []int64
		for _, e := range events {
			if e.Type == wire.TypeConfigured {
				told = append(told, e.Frame)
			}
		}
		if fmt.Sprint(told) != "[0 3]" {
			t.Errorf("configured from frames %v", told)
		}
	})
}

// A complete upload needs nobody in its next life.
func TestACompleteUploadGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{engines: []infertest.Config{{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1}}})
		r := l.next()
		r.upload(video(50))
		time.Sleep(100 * ms)
		l.suspend(r)
		r = l.next()
		r.feeder.Detach()
		if _, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Inferred != 50 || end.MediaSHA256 == "" {
			t.Errorf("end %+v", end)
		}
	})
}

// Records of form 2 have nothing of a tracker, those of form 1 one reason of dropping
// less, too.
func TestReplaysOfFormerFormsAreUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{})
		r := l.next()
		r.send(video(5))
		time.Sleep(ms)
		l.suspend(r)
		recall := func(change func([]byte) []byte) *session.Past {
			recs, err := l.store.Read(t.Context(), "s", 0, 100)
			must(t, err)
			p, err := session.Recall(t.Context(), uint64(len(recs)), func(_ context.Context, after uint64, limit int) ([]session.Line, error) {
				lines := make([]session.Line, limit)
				for i, rec := range recs[after : after+uint64(limit)] {
					lines[i] = session.Line{Event: rec.Event, Replay: rec.Replay}
					lines[i].Replay = change(lines[i].Replay)
				}
				return lines, nil
			})
			must(t, err)
			return p
		}
		now := recall(func(b []byte) []byte { return b })
		// The form; the event in force, inferred, failed, three reasons; the new one; no tracker.
		for form, without := range map[byte]int{1: 7, 2: 8} {
			former := recall(func(b []byte) []byte {
				if len(b) == 0 {
					return b
				}
				return slices.Concat([]byte{form}, b[1:without], b[9:])
			})
			if !reflect.DeepEqual(now, former) {
				t.Errorf("form %d: %+v, not %+v", form, former, now)
			}
		}
	})
}

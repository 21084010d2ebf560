package session_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func (r *rig) configure(c wire.Configure) {
	r.t.Helper()
	if err := r.Configure(&c); err != nil {
		r.t.Errorf("configure %s: %v", c.ID, err)
	}
}

func configured(events []event) (out []event) {
	for _, e := range events {
		if e.Type == wire.TypeConfigured {
			out = append(out, e)
		}
	}
	return out
}

// inForce checks every result against the configuration that its timeline says was
// in force. The labels tell: each configuration of these tests has one.
func inForce(events []event) error {
	var now event
	for i, e := range events {
		switch e.Type {
		case wire.TypeConfigured:
			now = e
			for _, later := range results(events[i:]) {
				if later.Frame < e.Frame {
					return fmt.Errorf("frame %d comes after configured %q from frame %d", later.Frame, e.ID, e.Frame)
				}
			}
		case wire.TypeDetections:
			want := len(now.Detect.Labels) == 0 || now.Detect.Labels[0] == infertest.Labels[e.Frame%3]
			if found := len(e.Detections) == 1; found != want {
				return fmt.Errorf("frame %d with %v in force: %+v", e.Frame, now.Detect.Labels, e.Detections)
			}
		}
	}
	return nil
}

func TestConfigureHoldsFromTheFrameThatConfiguredNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: unequal(), decoders: sessiontest.Config{Slots: 8, Cost: ms}})
		r.upload(video(600))
		for i := range 24 {
			time.Sleep(time.Duration(50+i) * ms)
			label := infertest.Labels[i%3]
			r.configure(wire.Configure{ID: fmt.Sprint(i), Detect: &wire.Detect{Labels: []string{label}}})
		}
		events, end := r.finish()
		if err := inForce(events); err != nil || end.Accounting.Inferred != 600 {
			t.Errorf("%v, end %+v", err, end)
		}
		for i, e := range configured(events)[1:] {
			if e.ID != fmt.Sprint(i) || !slices.Equal(e.Detect.Labels, []string{infertest.Labels[i%3]}) || e.Frame == 0 {
				t.Errorf("configured %+v", e)
			}
		}
	})
}

func TestConfigureKeepsWhatItDoesNotName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Detect: &wire.Detect{Threshold: new(0.3), Labels: []string{"red"}}}})
		synctest.Wait()
		r.configure(wire.Configure{ID: "a", Detect: &wire.Detect{IoU: new(0.7)}})
		r.configure(wire.Configure{ID: "b", Sample: &wire.Sample{Every: 5}})
		r.configure(wire.Configure{ID: "c", Detect: &wire.Detect{Labels: []string{}}})
		if err := r.Configure(&wire.Configure{Detect: &wire.Detect{Labels: []string{"unicorn"}}}); wire.AsError(err).Code != wire.BadMessage {
			t.Errorf("unknown label: %v", err)
		}
		r.upload(video(6))
		events, _ := r.finish()
		all := configured(events)
		if len(all) != 4 {
			t.Fatalf("configured %+v", all)
		}
		for i, want := range []string{
			`{0.3 false 0.5 [red]} {0 0 true}`, `{0.3 false 0.7 [red]} {0 0 true}`, `{0.3 false 0.7 [red]} {0 5 false}`, `{0.3 false 0.7 []} {0 5 false}`,
		} {
			if got := fmt.Sprint(all[i].Detect, all[i].Sample); got != want || all[i].Frame != 0 {
				t.Errorf("configured %d from frame %d: %s, want %s", i, all[i].Frame, got, want)
			}
		}
		if all[3].Detect.Labels != nil {
			t.Error("no filter is written as an empty list, not as null")
		}
		if f := frames(events); !slices.Equal(f, []int64{0, 5}) {
			t.Errorf("frames %v", f)
		}
	})
}

// Whenever the change comes, the frames that are sampled follow from what the
// configured events say: from each one on, every n-th frame.
func TestSamplingFollowsFromTheConfiguredEvents(t *testing.T) {
	starting := func(context.Context) error { time.Sleep(time.Second); return nil }
	for name, when := range map[string]func(r *rig){
		"before the first byte":    func(*rig) {},
		"before the decoder":       func(r *rig) { r.send("K"); r.send("ppp") },
		"while the decoder starts": func(r *rig) { r.send("K"); time.Sleep(500 * ms) },
		"while decoding": func(r *rig) {
			r.send(video(11))
			time.Sleep(time.Second + 10*ms + 500*time.Microsecond)
		},
		"while bytes are waited for": func(r *rig) {
			r.send(video(11))
			time.Sleep(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, options{
					decoders: sessiontest.Config{Cost: 2 * ms, Slots: 2, Starting: starting}, engines: []infertest.Config{{Price: infertest.Price{Run: 3 * ms}}},
					start: wire.Start{Sample: &wire.Sample{Every: 2}},
				})
				synctest.Wait()
				when(r)
				r.configure(wire.Configure{ID: "a", Sample: &wire.Sample{Every: 7}})
				r.configure(wire.Configure{ID: "b", Sample: &wire.Sample{Every: 3}})
				r.upload(video(60)[1:])
				events, end := r.finish()
				want := sampled(events, end.Accounting.Decoded)
				if got := frames(events); len(configured(events)) != 3 || !slices.Equal(got, want) {
					t.Errorf("frames %v, want %v", got, want)
				}
			})
		})
	}
}

func TestConfigureAfterDecodingStillComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: []infertest.Config{{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}}})
		r.upload(video(4))
		synctest.Wait() // all is decoded, the first frame is in the engine
		err := r.Configure(&wire.Configure{ID: "late", Detect: &wire.Detect{Labels: []string{"red"}}})
		events, _ := r.finish()
		all := configured(events)
		switch code := wire.AsError(err).Code; {
		case err == nil && (len(all) != 2 || all[1].Frame != 4):
			t.Errorf("configured %+v", all)
		case err != nil && (code != wire.Conflict || len(all) != 1):
			t.Errorf("%v, configured %+v", err, all)
		}
		if err := inForce(events); err != nil {
			t.Error(err)
		}
		if err := r.Configure(&wire.Configure{}); wire.AsError(err).Code != wire.Conflict {
			t.Errorf("configure after the end: %v", err)
		}
	})
}

// A change that the decoder never took up holds for no frame, and is still told.
func TestChangeThatNoFrameFollowsStillComesBack(t *testing.T) {
	for name, stop := range map[string]func(r *rig){
		"cancel": func(r *rig) { r.Cancel() },
		"crash":  func(r *rig) { r.send("!") },
		"end":    func(r *rig) { r.feeder.EOF() },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, options{})
			r.send(video(5))
			synctest.Wait()
			r.configure(wire.Configure{ID: "a", Detect: &wire.Detect{Threshold: new(0.3)}})
			r.configure(wire.Configure{ID: "b", Sample: &wire.Sample{Every: 3}})
			stop(r)
			events, _ := r.finish()
			if all := configured(events); len(all) != 3 || all[1].ID != "a" || all[2].ID != "b" || all[1].Frame != 5 || all[2].Frame != 5 {
				t.Errorf("%s: configured %+v", name, all)
			} else if all[2].Detect.Threshold != 0.3 {
				t.Errorf("%s: the second change forgets the first: %+v", name, all[2])
			}
		})
	}
}

// named is an engine on a provider of its own.
type named struct {
	*infertest.Engine
	provider string
}

func (n named) Identity() infer.Identity {
	id := n.Engine.Identity()
	id.Provider = n.provider
	return id
}

// Whatever can change a result is an event before that result. Its id is not that
// of an older message.
func TestChangeOfEngineIsConfiguredBeforeItsResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c infer.BatcherConfig
		for i, e := range unequal() {
			c.Engines = append(c.Engines, named{infertest.NewEngine(e), fmt.Sprint("fake", i)})
		}
		b, err := infer.NewBatcher(c)
		must(t, err)
		r := begin(t, options{inference: ready{b}, decoders: sessiontest.Config{Slots: 8}})
		synctest.Wait()
		r.configure(wire.Configure{ID: "a"})
		r.upload(video(100))
		events, _ := r.finish()
		must(t, b.Close())
		all := configured(events)
		for i, e := range all[2:] {
			if e.Engine == all[i+1].Engine || !strings.HasPrefix(e.Engine.Provider, "fake") || e.ID != "" {
				t.Errorf("configured %+v after %+v", e, all[i+1])
			}
		}
		if len(all) < 20 || all[1].ID != "a" || len(frames(events)) != 100 {
			t.Errorf("%d configured, %d results", len(all), len(frames(events)))
		}
	})
}

func TestChangesWaitInBoundedNumber(t *testing.T) {
	for name, v := range map[string]string{"before decoding": "", "while bytes are waited for": "Kp", "while the index is waited for": "iK"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, options{append: func(wire.Event) error { time.Sleep(time.Minute); return nil }})
				if v != "" {
					r.send(v)
				}
				synctest.Wait()
				taken := 0
				for range 100 {
					err := r.Configure(&wire.Configure{})
					if err == nil {
						taken++
					} else if wire.AsError(err).Code != wire.Quota {
						t.Error(err)
					}
				}
				if taken < 10 || taken > 20 {
					t.Errorf("%d changes were taken", taken)
				}
				r.upload("K")
				if events, _ := r.finish(); len(configured(events)) != 1+taken {
					t.Errorf("%d taken, configured %d", taken, len(configured(events)))
				}
			})
		})
	}
}

// Changes that pile up behind a frame must not keep it from being taken.
func TestManyChangesDoNotBlockTheFramesBeforeThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		r := begin(t, options{
			start:   wire.Start{Sample: &wire.Sample{Every: 1000}},
			engines: []infertest.Config{{Before: func(*infertest.Engine, int) error { <-busy; return nil }}},
		})
		// Another session's frame keeps the engine busy.
		other := &other{frame: r.decoders.Frames.Frame(0)}
		place, err := r.batcher.Join(other, infer.Client{})
		must(t, err)
		place.Ready(1)
		synctest.Wait()
		r.send("K")
		for i := range 100 {
			_ = r.Configure(&wire.Configure{ID: fmt.Sprint(i), Sample: &wire.Sample{Every: 1000}})
			synctest.Wait()
			r.send("pp")
			synctest.Wait()
		}
		r.feeder.EOF()
		close(busy)
		if _, end := r.finish(); end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
	})
}

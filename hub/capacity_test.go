package hub_test

import (
	"context"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/timeline"
	"detections/infer/infertest"
	"detections/session/wire"
)

// Half of ten images per second is promised to live sessions, so five are served.
func TestLiveSessionsBeyondTheCapacityAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Image: 100 * ms}, MaxBatch: 1}})
		r.run(wire.Start{}, video(5)).Reader.Close() // the engine's speed is known now
		var all []client
		for range 5 {
			all = append(all, r.start(wire.Start{Mode: wire.Live}))
		}
		if _, err := r.Start(t.Context(), "you", wire.Start{Mode: wire.Live}); code(err) != wire.Overloaded {
			t.Errorf("the sixth live session: %v", err)
		}
		all = append(all, r.start(wire.Start{})) // a file can wait
		away := all[0]
		away.Feeder.Detach()
		time.Sleep(29 * time.Second)
		if _, err := r.Start(t.Context(), "you", wire.Start{Mode: wire.Live}); code(err) != wire.Overloaded {
			t.Errorf("in place of one that may come back: %v", err)
		}
		time.Sleep(2 * time.Second)
		all = append(all, r.start(wire.Start{Mode: wire.Live}), r.resume(away, 0)) // both are let in
		if _, err := r.Start(t.Context(), "you", wire.Start{Mode: wire.Live}); code(err) != wire.Overloaded {
			t.Errorf("the seventh live session: %v", err)
		}
		for _, c := range all {
			c.Reader.Close()
		}
		r.close()
	})
}

func TestOneClientHasSoManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{PerPrincipal: 2}})
		a, b := r.start(wire.Start{}), r.start(wire.Start{})
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.Quota {
			t.Errorf("the third session: %v", err)
		}
		other, err := r.Start(t.Context(), "you", wire.Start{})
		must(t, err)
		a.upload(video(1))
		a.read()
		synctest.Wait()
		c := r.start(wire.Start{})
		for _, c := range []client{b, c, {other, t}} {
			c.Reader.Close()
		}
		r.close()
	})
}

// slowCreate takes its time to make a timeline.
type slowCreate struct{ *timeline.Memory }

func (s slowCreate) Create(ctx context.Context, m timeline.Meta) error {
	time.Sleep(100 * ms)
	return s.Memory.Create(ctx, m)
}

// Ten cameras come back at once, and none is among the sessions while the others are asked.
func TestSessionsThatStartTogetherAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		limits hub.Limits
		mode   wire.Mode
		served int
		code   wire.Code
	}{
		"live": {hub.Limits{}, wire.Live, 5, wire.Overloaded}, // as above
		"own":  {hub.Limits{PerPrincipal: 3}, wire.File, 3, wire.Quota},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t, options{
					limits: c.limits, store: slowCreate{timeline.NewMemory()}, engine: infertest.Config{Price: infertest.Price{Image: 100 * ms}, MaxBatch: 1},
				})
				r.run(wire.Start{}, video(5)).Reader.Close()
				synctest.Wait()
				for range 2 { // what was refused, or has ended, takes no place
					got := map[wire.Code]int{}
					for _, err := range startTogether(r, 10, wire.Start{Mode: c.mode}) {
						got[code(err)]++
					}
					if got[""] != c.served || got[c.code] != 10-c.served {
						t.Errorf("%v, expected %d that are served", got, c.served)
					}
					for _, st := range r.Sessions("me") {
						_, err := r.Cancel("me", st.ID)
						must(t, err)
					}
					synctest.Wait()
				}
				r.close()
			})
		})
	}
}

// startTogether begins sessions at once, and says what was answered.
func startTogether(r *rig, n int, m wire.Start) []error {
	answers := make([]error, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			a, err := r.Start(r.t.Context(), "me", m)
			if err == nil {
				a.Reader.Close()
			}
			answers[i] = err
		})
	}
	all.Wait()
	return answers
}

func TestFilesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Files: 1}})
		first := r.start(wire.Start{})
		synctest.Wait() // it has its turn
		second, gone, live := r.start(wire.Start{}), r.start(wire.Start{}), r.start(wire.Start{Mode: wire.Live})
		synctest.Wait()
		second.upload(video(5))
		gone.send(video(5))
		live.upload(video(5))
		live.read()
		if s := r.Stats().States; s[wire.WaitingForCapacity] != 2 {
			t.Errorf("states %v", s)
		}
		gone.Session.Cancel()
		if end := gone.end(gone.read()); end.Outcome != wire.Cancelled {
			t.Errorf("cancelled in the line: %+v", end)
		}
		first.upload(video(5))
		first.read()
		if end := second.end(second.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 5 {
			t.Errorf("after its turn came: %+v", end)
		}
		r.close()
	})
}

func TestStuckEngineIsToldAndNothingWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, runs := make(chan struct{}), 0
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1, Before: func(*infertest.Engine, int) error {
			if runs++; runs == 3 {
				<-release
			}
			return nil
		}}})
		c := r.start(wire.Start{})
		c.upload(video(10))
		start := time.Now()
		time.Sleep(time.Second)
		id := c.Started.Session
		deleted := make(chan error, 1)
		go func() { deleted <- r.Delete(t.Context(), "me", id) }()
		must(t, <-deleted)
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("deleting took %v", took)
		}
		if why := r.NotReady(); len(why) != 1 {
			t.Errorf("not ready: %q", why)
		}
		c.Reader.Close()
		close(release)
		time.Sleep(time.Second)
		if why := r.NotReady(); len(why) != 0 {
			t.Errorf("not ready after the engine came back: %q", why)
		}
		r.close()
	})
}

func TestAbsurdLimitsAreRefused(t *testing.T) {
	for _, l := range []hub.Limits{{MinRate: -1}, {MinRate: math.NaN()}, {MinRate: 1e9}, {Files: -1}, {PerPrincipal: -1}} {
		if h, err := hub.New(hub.Config{Dir: t.TempDir(), Limits: l}); err == nil {
			t.Errorf("%+v was accepted", l)
			h.Close()
		}
	}
}

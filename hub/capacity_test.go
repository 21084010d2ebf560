package hub_test

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
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

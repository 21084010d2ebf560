package hub_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/timeline"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func TestDrainLetsSessionsFinishAndTakesNoNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}})
		synctest.Wait()
		a, b := r.start(wire.Start{Key: "a"}), r.start(wire.Start{})
		a.upload(video(10))
		b.send(video(5))
		r.BeginDrain()
		r.BeginDrain()
		if !closed(r.Draining()) || !r.Stats().Draining || len(r.NotReady()) != 1 {
			t.Errorf("not ready: %q", r.NotReady())
		}
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.Draining {
			t.Errorf("start: %v", err)
		}
		if _, err := r.Picture(t.Context(), strings.NewReader("K"), nil); code(err) != wire.Draining {
			t.Errorf("picture: %v", err)
		}
		r.start(wire.Start{Key: "a"}).Reader.Close() // coming back is possible
		go func() { time.Sleep(3 * time.Second); b.upload("p") }()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if lost := r.Drain(ctx); lost != (hub.Lost{}) || ctx.Err() != nil {
			t.Errorf("lost %+v", lost)
		}
		if end := a.end(a.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 10 {
			t.Errorf("end %+v", end)
		}
		if end := b.end(b.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 6 {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

func TestDrainCutsOffAtTheDeadlineAndSaysWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}})
		var all []client
		for range 3 {
			c := r.start(wire.Start{})
			c.send(video(100)) // and no end
			all = append(all, c)
		}
		quick := r.start(wire.Start{})
		quick.upload("K")
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+500*ms)
		defer cancel()
		lost := r.Drain(ctx)
		if took := time.Since(begun); took > 12*time.Second {
			t.Errorf("the drain took %v", took)
		}
		var dropped int64
		for _, c := range all {
			end := c.end(c.read())
			dropped += end.Accounting.Dropped["cancelled"]
			if end.Code != wire.Draining || end.Accounting.Inferred < 3 || end.Accounting.Pending != 0 {
				t.Errorf("end %+v", end)
			}
		}
		if lost.Sessions != 3 || lost.Pending != dropped || dropped != 3*4 {
			t.Errorf("lost %+v, dropped %d", lost, dropped)
		}
		if end := quick.end(quick.read()); end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
		r.close()
	})
}

// The sessions that are cut off end together, not one after the other.
func TestDrainCutsOffAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{
			engine:   infertest.Config{Price: infertest.Price{Run: time.Second}},
			store:    slowStore{timeline.NewMemory()},
			decoders: sessiontest.Config{Slots: 1},
		})
		var all []client
		for range 8 {
			c := r.start(wire.Start{})
			c.send(video(100))
			all = append(all, c)
		}
		time.Sleep(10*time.Second + 300*ms)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if lost := r.Drain(ctx); lost.Sessions != 8 {
			t.Errorf("lost %+v", lost)
		}
		for _, c := range all {
			c.read()
		}
		// A batch, and the few events that are due, at a second each.
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("8 sessions took %v", took)
		}
		r.close()
	})
}

func TestCloseEndsWhatStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		c.send("Kp")
		synctest.Wait()
		w := make(chan []wire.Event)
		go func() { w <- c.read() }()
		must(t, r.Hub.Close())
		if end := c.end(<-w); end.Code != wire.Draining || end.Accounting.Inferred != 2 {
			t.Errorf("end %+v", end)
		}
		<-r.loaded
		must(t, r.ai.Close())
	})
}

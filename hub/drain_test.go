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

func TestDrainSuspendsSessionsAndTakesNoNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}})
		synctest.Wait()
		a, b := r.start(wire.Start{Key: "a"}), r.start(wire.Start{})
		a.upload(video(2))
		b.send(video(100))
		r.BeginDrain()
		if closed(r.Stopping()) || !r.Stats().Draining || len(r.NotReady()) != 1 {
			t.Errorf("not ready: %q", r.NotReady())
		}
		late := r.run(wire.Start{}, "K") // who comes nevertheless is served
		if end := a.end(a.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 2 {
			t.Errorf("end %+v", end) // until it is suspended a session goes on
		}
		begun := time.Now()
		if left := r.Drain(t.Context()); left != (hub.Left{Suspended: 1}) || time.Since(begun) > 2*time.Second {
			t.Errorf("left %+v after %v", left, time.Since(begun))
		}
		if _, err := r.Start(t.Context(), "me", wire.Start{}); code(err) != wire.Draining || !closed(r.Stopping()) {
			t.Errorf("start: %v", err)
		}
		if _, err := r.Picture(t.Context(), "me", strings.NewReader("K"), nil); err != nil {
			t.Errorf("picture: %v", err)
		}
		r.resume(b, 0).Reader.Close() // coming back is possible
		if !b.Session.Suspended() || b.Session.Status().End != nil || a.Session.Suspended() {
			t.Error("suspended is what had not ended")
		}
		b.Reader.Close()
		late.Reader.Close()
		r.close()
		if _, err := r.Picture(t.Context(), "me", strings.NewReader("K"), nil); code(err) != wire.Draining {
			t.Errorf("picture after the end: %v", err)
		}
	})
}

// The sessions come to rest together, not one after the other.
func TestDrainSuspendsAllAtOnce(t *testing.T) {
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
		begun := time.Now()
		if left := r.Drain(t.Context()); left.Suspended != 8 {
			t.Errorf("left %+v", left)
		}
		// A batch, and the few events that are due, at a second each.
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("8 sessions took %v", took)
		}
		for _, c := range all {
			c.Reader.Close()
		}
		r.close()
	})
}

func TestDrainGivesUpWaitingAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{engine: infertest.Config{Price: infertest.Price{Run: 30 * time.Second}}})
		c := r.start(wire.Start{})
		c.send(video(2))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if left := r.Drain(ctx); left != (hub.Left{Suspended: 1, Stuck: 1}) {
			t.Errorf("left %+v", left)
		}
		<-c.Session.Done() // the batch comes back after all
		c.Reader.Close()
		r.close()
	})
}

// slowToCreate is a store in which a new session takes a while.
type slowToCreate struct{ timeline.Store }

func (s slowToCreate) Create(ctx context.Context, m timeline.Meta) error {
	time.Sleep(500 * ms)
	return s.Store.Create(ctx, m)
}

// A session that was admitted before the hub stops, and is there only while it waits
// for others to come to rest, is suspended too: or the data directory is not given up.
func TestASessionThatBeginsDuringTheStopIsSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{
			engine: infertest.Config{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}, store: slowToCreate{timeline.NewMemory()},
		})
		busy := r.start(wire.Start{})
		busy.send("K")
		synctest.Wait()
		started := make(chan client, 1)
		go func() { started <- r.start(wire.Start{}) }()
		time.Sleep(100 * ms)
		begun := time.Now()
		must(t, r.Hub.Close())
		late := <-started
		if took := time.Since(begun); took > 2*time.Second || !late.Session.Suspended() {
			t.Errorf("closing took %v, suspended: %v", took, late.Session.Suspended())
		}
		busy.Reader.Close()
		late.Reader.Close()
		<-r.loaded
		must(t, r.ai.Close())
	})
}

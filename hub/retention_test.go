package hub_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/timeline"
	"detections/session/wire"
)

func (r *rig) known(c client) bool {
	_, _, err := r.Session("me", c.Started.Session)
	return err == nil
}

func TestResultsAreKeptForTheirRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Retention: 10 * time.Minute}})
		running := r.start(wire.Start{})
		old := r.run(wire.Start{Key: "k"}, "K")
		old.read()
		time.Sleep(5 * time.Minute)
		young := r.run(wire.Start{}, "K")
		young.read()
		time.Sleep(5*time.Minute - time.Second)
		if !r.known(old) || !r.known(young) {
			t.Error("forgotten too soon")
		}
		reader := r.watch(wire.Watch{Session: old.Started.Session})
		time.Sleep(15 * time.Second)
		if r.known(old) || !r.known(young) || !r.known(running) || r.stored() != 2 {
			t.Errorf("known: %v %v %v, %d timelines", r.known(old), r.known(young), r.known(running), r.stored())
		}
		if _, err := reader.follow(); !errors.Is(err, timeline.ErrUnknown) {
			t.Errorf("reader of what is deleted: %v", err)
		}
		again := r.start(wire.Start{Key: "k"})
		if again.Started.Session == old.Started.Session {
			t.Error("the key of a forgotten session still leads to it")
		}
		again.Reader.Close()
		running.Reader.Close()
		r.close()
	})
}

func TestASessionCanAskForAShorterRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Retention: time.Hour}})
		long := r.run(wire.Start{ExpiresS: 1e6}, "K")
		short := r.run(wire.Start{ExpiresS: 60}, "K")
		long.read()
		short.read()
		synctest.Wait()
		if in := time.Until(r.Expires(long.Started.Session)); in != time.Hour {
			t.Errorf("asking for more gives %v", in)
		}
		if in := time.Until(r.Expires(short.Started.Session)); in != time.Minute {
			t.Errorf("it says that it expires in %v", in)
		}
		time.Sleep(59 * time.Second)
		if !r.known(short) {
			t.Error("forgotten too soon")
		}
		time.Sleep(12 * time.Second)
		if r.known(short) || !r.known(long) {
			t.Errorf("known after its time: %v, the other %v", r.known(short), r.known(long))
		}
		r.close()
	})
}

func TestSoManyEndedSessionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Kept: 3}})
		var all []client
		for range 5 {
			c := r.run(wire.Start{}, "K")
			c.read()
			time.Sleep(ms)
			all = append(all, c)
		}
		for i, c := range all {
			if r.known(c) != (i >= 2) {
				t.Errorf("session %d is known: %v", i, r.known(c))
			}
		}
		if st := r.Sessions("me"); r.stored() != 3 || len(st) != 3 || st[0].ID != all[2].Started.Session {
			t.Errorf("%d timelines, sessions %+v", r.stored(), st)
		}
		if a := r.Stats().Accounting; a.Inferred != 5 {
			t.Errorf("forgotten sessions count no more: %+v", a)
		}
		r.close()
	})
}

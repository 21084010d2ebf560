package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/session/wire"
)

// drained is what a tail holds now.
func drained(t *hub.Tail) (all []hub.TailEvent) {
	for {
		select {
		case e := <-t.C:
			all = append(all, e)
		default:
			return all
		}
	}
}

func TestTailShowsWhatThePrincipalsSessionsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		before := r.run(wire.Start{}, "K")
		before.read()
		mine, again, yours := r.Tail("me"), r.Tail("me"), r.Tail("you")
		a, b := r.run(wire.Start{}, video(5)), r.run(wire.Start{}, video(7))
		synctest.Wait()
		again.Close()
		events := drained(mine)
		for _, c := range []client{a, b} {
			want := c.read()
			n := 0
			for _, e := range events {
				if e.Session == c.Started.Session {
					if e.Offset != want[n].Offset || string(e.Message) != string(want[n].Message) {
						t.Errorf("event %d: %s", n, e.Message)
					}
					n++
				}
			}
			if n != len(want) {
				t.Errorf("%d of %d events", n, len(want))
			}
		}
		if len(events) != 7+9 || len(drained(again)) != 16 || len(drained(yours)) != 0 || mine.Missed() != 0 {
			t.Errorf("%d events", len(events))
		}
		r.run(wire.Start{}, "K").read()
		if len(drained(again)) != 0 || len(drained(mine)) != 3 {
			t.Error("a closed tail goes on, or an open one does not")
		}
		r.close()
	})
}

func TestSlowReaderOfTheTailMissesEventsAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		slow := r.Tail("me")
		defer slow.Close()
		begun := time.Now()
		c := r.run(wire.Start{}, video(3000))
		if took := time.Since(begun); took != 0 {
			t.Errorf("the session took %v", took)
		}
		c.read()
		got, missed := len(drained(slow)), slow.Missed()
		if got+missed != 3002 || missed == 0 || slow.Missed() != 0 {
			t.Errorf("%d events, %d missed", got, missed)
		}
		r.run(wire.Start{}, "K").read()
		if len(drained(slow)) != 3 {
			t.Error("a reader that missed something does not go on")
		}
		r.close()
	})
}

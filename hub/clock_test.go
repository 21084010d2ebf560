package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/outbox/outboxtest"
	"detections/session"
	"detections/session/wire"
)

// clock is a machine's: its wall clock can be set, and it can be started again.
type clock struct {
	begun time.Time
	boot  uint64
	off   time.Duration // what the wall clock is wrong by
}

func (c *clock) now() session.Moment {
	return session.Moment{Wall: time.Now().Add(c.off).Round(0), Boot: c.boot, Up: time.Since(c.begun)}
}

// restart starts the machine again, with what it then takes for the time.
func (c *clock) restart(off time.Duration) { c.boot, c.begun, c.off = c.boot+1, time.Now(), off }

// TestSettingTheClockExpiresNothing sets it by an hour or ten years either way, while
// the hub runs and while it does not. What is kept for ten minutes is kept for ten.
func TestSettingTheClockExpiresNothing(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t, options{limits: hub.Limits{Retention: 10 * time.Minute}})
				first := r.run(wire.Start{}, "K")
				first.read()
				r.options.clock.off += jump
				time.Sleep(4 * time.Minute)
				second := r.run(wire.Start{ExpiresS: 300}, "K")
				second.read()
				time.Sleep(time.Minute)
				r = r.restarted()
				r.options.clock.off += jump
				r = r.killed()
				time.Sleep(2 * time.Minute)
				if !r.known(first) || !r.known(second) {
					t.Errorf("kept %v %v after 7 of 10 and 3 of 5 minutes", r.known(first), r.known(second))
				}
				if in := time.Until(r.Expires(first.Started.Session)); in < 3*time.Minute-time.Second || in > 3*time.Minute+time.Second {
					t.Errorf("it says that it expires in %v", in)
				}
				time.Sleep(2*time.Minute + 15*time.Second)
				if !r.known(first) || r.known(second) {
					t.Errorf("kept %v %v after more than 9 and 5 minutes", r.known(first), r.known(second))
				}
				time.Sleep(time.Minute)
				if r.known(first) {
					t.Error("kept for more than its time")
				}
				r.close()
			})
		})
	}
}

// After a start of the machine only its wall clock is left. One that is behind keeps
// results for their whole time once more, and no longer.
func TestAMachineThatStartsWithAWrongClockKeepsResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{limits: hub.Limits{Retention: 10 * time.Minute}})
		c := r.run(wire.Start{}, "K")
		c.read()
		time.Sleep(9 * time.Minute)
		r.options.clock.restart(-time.Hour)
		r = r.killed()
		time.Sleep(9 * time.Minute)
		if !r.known(c) {
			t.Error("forgotten too soon")
		}
		time.Sleep(time.Minute + 15*time.Second)
		if r.known(c) {
			t.Error("kept for ever")
		}
		r.close()
	})
}

// A session that waits for its client, and one whose results wait for the service, wait
// as long as they should, whatever the clock says meanwhile and after a restart.
func TestSettingTheClockEndsNoWait(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w weather
				w.set(outboxtest.Error500)
				r := open(t, options{service: under(&w), limits: hub.Limits{Linger: 10 * time.Minute, Retention: time.Minute}})
				done := r.run(wire.Start{}, "Kpp")
				events := done.read()
				waits := r.start(wire.Start{})
				waits.send("Kp")
				waits.Feeder.Detach()
				time.Sleep(time.Second)
				r.options.clock.off += jump
				r = r.restarted()
				time.Sleep(9 * time.Minute)
				if st := r.Sessions("me"); len(st) != 2 || !r.known(done) || !r.known(waits) {
					t.Fatalf("kept: %+v", st)
				}
				w.set(outboxtest.None)
				r.options.clock.off -= 2 * jump
				time.Sleep(30 * time.Second)
				if s, _, err := r.Session("me", waits.Started.Session); err != nil || s.Status().End != nil {
					t.Errorf("it does not wait any more: %v", err)
				}
				time.Sleep(time.Minute)
				r.delivered(done, events)
				if s, _, err := r.Session("me", waits.Started.Session); err != nil || s.Status().End == nil {
					t.Errorf("it still waits: %v", err)
				}
				r.close()
			})
		})
	}
}

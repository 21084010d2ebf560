package outbox_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
	"detections/session/wire"
)

// plan makes a service fail with its first requests.
func plan(faults ...outboxtest.Fault) func(int) outboxtest.Fault {
	return func(n int) outboxtest.Fault {
		if n < len(faults) {
			return faults[n]
		}
		return outboxtest.None
	}
}

func TestFramesWithDetectionsAndTheEndAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &outboxtest.Service{}, outbox.ServiceConfig{})
		r.start()
		r.add("a", "cdeed.")
		r.flush()
		r.stored("a", 2, 5, 6)
		end := r.service.Events("a")[2]
		if end.MediaID != "media-a" || len(end.MediaSHA256) != 64 || end.Type != "end" {
			t.Errorf("end %+v", end)
		}
		if got := r.source.delivered("a"); got != 6 {
			t.Errorf("cursor at %d, want 6", got)
		}
	})
}

func TestAllResultsCanBeAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &outboxtest.Service{}, outbox.ServiceConfig{})
		r.cfg.Results = wire.All
		r.start()
		r.add("a", "cdeed.")
		r.flush()
		r.stored("a", upTo(6)...)
	})
}

// TestEveryFaultIsOvercome has each fault hit the first three requests.
func TestEveryFaultIsOvercome(t *testing.T) {
	for f := range outboxtest.Faults {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fault := outboxtest.Fault(f)
				s := &outboxtest.Service{Fault: plan(fault, fault, fault), RetryAfter: "7", SlowBy: 3 * time.Second}
				r := newRig(t, s, outbox.ServiceConfig{})
				r.start()
				r.add("a", "ddd")
				r.add("b", "dd.")
				r.flush()
				r.stored("a", upTo(3)...)
				r.stored("b", upTo(3)...)
				if n := len(r.Letters()); n != 0 {
					t.Errorf("%d dead letters", n)
				}
			})
		})
	}
}

// TestNothingIsLostOrDoubledInAnyMixture throws every fault, refusals and crashes at
// many sessions that grow meanwhile.
func TestNothingIsLostOrDoubledInAnyMixture(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { mixture(t, seed) })
		})
	}
}

func mixture(t *testing.T, seed uint64) {
	dice := rand.New(rand.NewPCG(seed, 1))
	faults := make([]outboxtest.Fault, 400)
	for i := range faults {
		if dice.IntN(2) == 0 {
			faults[i] = outboxtest.Fault(dice.IntN(outboxtest.Faults))
		}
	}
	bad := func(e outboxtest.Event) int {
		if e.Offset%13 == 5 {
			return 422
		}
		return 0
	}
	s := &outboxtest.Service{Fault: plan(faults...), Refuse: bad, Whole: seed%2 == 0, RetryAfter: "3", SlowBy: 12 * time.Second}
	r := newRig(t, s, outbox.ServiceConfig{})
	r.start()
	const sessions, length = 12, 60
	for range length - 1 {
		for i := range sessions {
			r.add(fmt.Sprint(i), "d")
		}
		time.Sleep(time.Duration(dice.IntN(2000)) * time.Millisecond)
		if dice.IntN(15) == 0 {
			r.crash()       // in the middle of whatever is going on
			synctest.Wait() // the service sees that the old process is gone before the new one asks
			r.start()
		}
	}
	for i := range sessions {
		r.add(fmt.Sprint(i), ".")
	}
	r.flush()
	var want []uint64
	for i := range uint64(length) {
		if (i+1)%13 != 5 {
			want = append(want, i+1)
		}
	}
	for i := range sessions {
		r.stored(fmt.Sprint(i), want...)
	}
	if got := len(r.Letters()); got != sessions*(length-len(want)) {
		t.Errorf("%d dead letters, want %d", got, sessions*(length-len(want)))
	}
	if st := r.State(); st.Sessions != 0 || st.Events != 0 || st.Oldest != 0 {
		t.Errorf("state %+v", st)
	}
}

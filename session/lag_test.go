package session_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// slowly sends pictures that are 40 ms apart, in their time.
func (r *rig) slowly(n int) {
	for range n {
		if r.Failure() != nil {
			return
		}
		r.send("K")
		time.Sleep(40 * ms)
	}
}

func TestLiveThatCannotBeDecodedInTimeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Mode: wire.Live, BudgetMS: 500}, decoders: sessiontest.Config{Cost: 100 * ms}})
		begun := time.Now()
		r.slowly(1000)
		_, end := r.finish()
		if took := time.Since(begun); end.Code != wire.Overloaded || took < time.Second || took > 4*time.Second {
			t.Errorf("after %v: end %+v", took, end)
		}
	})
}

// lateEngine is ready after a while.
type lateEngine struct {
	b     atomic.Pointer[infer.Batcher]
	after time.Duration
}

func (l *lateEngine) Acquire(_ context.Context, _ session.Want, waiting func(wire.AI)) (*session.Hold, error) {
	waiting(wire.AI{})
	time.Sleep(l.after)
	return &session.Hold{Batcher: l.b.Load(), Release: func() {}}, nil
}

func TestLiveThatWaitedForAnEngineCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &lateEngine{after: 10 * time.Second}
		r := begin(t, options{start: wire.Start{Mode: wire.Live, BudgetMS: 500}, decoders: sessiontest.Config{Cost: 20 * ms}, inference: late})
		late.b.Store(r.batcher)
		r.slowly(1000)
		r.feeder.EOF()
		if _, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Decoded != 1000 {
			t.Errorf("end %+v", end)
		}
	})
}

// How far decoding was behind with a picture says little when the next one is far away.
func TestThatDecodingWasBehindIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Mode: wire.Live, BudgetMS: 20, Sample: &wire.Sample{Every: 50}}, decoders: sessiontest.Config{Cost: 41 * ms}})
		r.slowly(51)
		for range 100 {
			r.send("K")
		}
		time.Sleep(100 * ms) // the second picture is picked
		if !r.feeder.WantsKey() {
			t.Error("decoding is not behind")
		}
		time.Sleep(time.Second) // the third is not
		if r.feeder.WantsKey() {
			t.Error("it is behind still")
		}
		r.feeder.EOF()
		r.finish()
	})
}

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

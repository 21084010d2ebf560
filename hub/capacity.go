package hub

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"detections/infer"
	"detections/session/wire"
)

// held is how long the place of a camera that is away is kept. Who comes back later is
// let in all the same, and live sessions may then get less than they should.
const held = 30 * time.Second

// place is what a session takes that is being created, and is not among the others yet.
type place struct {
	principal string
	live      bool
}

func placeOf(principal string, m wire.Start) place { return place{principal, m.Mode == wire.Live} }

// spareLocked says why another session of the principal cannot be served as it should,
// nil: it can. Running sessions do not suffer from one that is refused.
func (h *Hub) spareLocked(principal string, m wire.Start) error {
	own, live := 0, 0
	for _, p := range h.starting {
		if p.principal == principal {
			own++
		}
		if p.live {
			live++
		}
	}
	for _, e := range h.listLocked() {
		st := e.Status()
		if st.End != nil {
			continue
		}
		if e.Principal() == principal {
			own++
		}
		if st.Mode == wire.Live && (st.Left.IsZero() || time.Since(st.Left) < held) {
			live++
		}
	}
	if most := h.limits.PerPrincipal; most > 0 && own >= most {
		return wire.Errorf(wire.Quota, "%d of your sessions are running, which is the limit for one client; try again when one has ended", own)
	}
	// Not known until something was inferred: then there is nobody who could suffer.
	rate := h.cfg.AI.Stats().Guaranteed[infer.Live]
	if need := h.limits.MinRate * float64(live+1); m.Mode == wire.Live && rate > 0 && need > rate {
		return wire.Errorf(wire.Overloaded, "%d live sessions are running, and the engines can promise %.1f frames per second to all of them; with one more, each would get less than %g; try again when one has ended",
			live, rate, h.limits.MinRate)
	}
	return nil
}

// line lets so many files be decoded at a time, and the others wait for their turn, in
// the order in which they came.
type line struct{ turns *semaphore.Weighted }

func newLine(n int) line { return line{semaphore.NewWeighted(int64(n))} }

// enter waits for the caller's turn; waiting is called once if that takes time. The
// caller leaves when it is done.
func (l line) enter(ctx context.Context, waiting func()) (leave func(), err error) {
	if !l.turns.TryAcquire(1) {
		waiting()
		if err := l.turns.Acquire(ctx, 1); err != nil {
			return nil, err
		}
	}
	return func() { l.turns.Release(1) }, nil
}

// engineTrouble says what is wrong with engines that were fine once.
func engineTrouble(s infer.BatcherStats) (why []string) {
	if s.Stuck > 0 {
		why = append(why, fmt.Sprintf("%d engines have not returned from a run for too long", s.Stuck))
	}
	if s.Failing > 0 {
		why = append(why, fmt.Sprintf("%d engines fail on every picture", s.Failing))
	}
	return why
}

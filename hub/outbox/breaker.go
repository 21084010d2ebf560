package outbox

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Backoff is how long to wait after failures in a row. The longest wait doubles with
// each, from twice Min up to Max; the wait itself is drawn from Min to that, so that
// senders do not come back all at once, and never at once.
type Backoff struct{ Min, Max time.Duration }

// delay is the wait after the n-th failure in a row, counted from 1.
func (b Backoff) delay(n int) time.Duration {
	longest := b.Max
	if n < 32 {
		longest = min(b.Max, b.Min<<n)
	}
	return b.Min + rand.N(max(1, longest-b.Min+1)) //nolint:gosec // G404: jitter needs no secrecy
}

// The states of the breaker.
const (
	Closed   = "closed"    // requests pass
	Open     = "open"      // the service has failed, or has asked to wait: nothing passes
	HalfOpen = "half_open" // one request tries whether the service is back
)

// breaker keeps requests from a service that does not answer. It opens after so many
// failures in a row, lets one request try after a backoff, and closes when that is
// answered. It makes senders wait instead of failing them, so none can spin.
type breaker struct {
	after   int
	backoff Backoff

	mu       sync.Mutex
	failures int           // in a row
	until    time.Time     // nothing passes before; zero: closed
	probing  bool          // one request is out to try
	changed  chan struct{} // closed at every change
}

func newBreaker(after int, b Backoff) *breaker {
	return &breaker{after: after, backoff: b, changed: make(chan struct{})}
}

// verdict is what one request told about the service.
type verdict int

const (
	nothing verdict = iota // it was given up
	alive
	failing
)

// enter waits until a request may be made. Each must be followed by leave, with what
// enter returned: whether the request is the one that tries.
func (b *breaker) enter(ctx context.Context) (probe bool, err error) {
	for {
		b.mu.Lock()
		wait, closed, probing, changed := time.Until(b.until), b.until.IsZero(), b.probing, b.changed
		if probe = !closed && wait <= 0 && !probing; probe {
			b.probing = true
		}
		b.mu.Unlock()
		if closed || probe {
			return probe, nil
		}
		var due <-chan time.Time
		if !probing {
			due = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-changed:
		case <-due:
		}
	}
}

// leave reports a request. hold is how long the service wants to be left alone; 0: it
// did not say. It returns whether the breaker is open now.
func (b *breaker) leave(probe bool, v verdict, hold time.Duration) (open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { open = !b.until.IsZero() }()
	if !probe && !b.until.IsZero() {
		return // it began before the breaker opened, and tells nothing new
	}
	if probe {
		b.probing = false
	}
	switch v {
	case alive:
		b.failures, b.until = 0, time.Time{}
	case failing:
		b.failures++
		if b.failures >= b.after {
			b.until = time.Now().Add(b.backoff.delay(b.failures - b.after + 1))
		}
	}
	if at := time.Now().Add(hold); hold > 0 && at.After(b.until) {
		b.until = at
	}
	close(b.changed)
	b.changed = make(chan struct{})
	return
}

// state is Closed, Open or HalfOpen, and when the next try is due if it is open.
func (b *breaker) state() (string, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return Closed, time.Time{}
	case b.probing || !b.until.After(time.Now()):
		return HalfOpen, time.Time{}
	default:
		return Open, b.until
	}
}

package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// BeginDrain makes the hub not ready, so that new clients are sent elsewhere. Who
// comes nevertheless is still served.
func (h *Hub) BeginDrain() { h.draining.Store(true) }

// IsDraining says whether it has begun.
func (h *Hub) IsDraining() bool { return h.draining.Load() }

// Stopping is closed when sessions are suspended and clients must leave.
func (h *Hub) Stopping() <-chan struct{} { return h.stopping }

// Left is what a drain leaves to the next process.
type Left struct {
	Suspended int // sessions that go on there
	Stuck     int // of them, those that did not come to rest; some of their work is done again
}

// Drain suspends all sessions: what is in flight is finished and recorded, until the
// context ends. It says what is left.
func (h *Hub) Drain(ctx context.Context) (left Left) {
	h.BeginDrain()
	running := h.stop()
	for _, e := range running { // all at once; what has ended stays as it is
		e.Suspend()
	}
	h.storage.leave()
	for _, e := range running {
		select {
		case <-e.Done():
		case <-ctx.Done():
		}
		switch {
		case !isClosed(e.Done()):
			left.Suspended++
			left.Stuck++
			h.log.Warn("a session did not come to rest", "session", e.ID())
		case e.Suspended():
			left.Suspended++
		}
	}
	return left
}

// stop takes no new sessions from now on and returns those that run.
func (h *Hub) stop() []*entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopOnce.Do(func() { close(h.stopping) })
	return h.listLocked()
}

func (h *Hub) isStopping() bool { return isClosed(h.stopping) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// rest is how long Close waits for sessions to come to rest.
const rest = 5 * time.Second

// Close suspends what still runs, and gives up the data directory last. It can be
// called again, to no effect.
func (h *Hub) Close() error { return h.closeOnce() }

func (h *Hub) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), rest)
	defer cancel()
	left := h.Drain(ctx)
	h.mu.Lock()
	close(h.quit) // before work is waited for: nothing is added any more
	h.mu.Unlock()
	if left.Stuck == 0 {
		h.work.Wait()
	}
	h.stopOutbox() // its cursors are in the store: the next process delivers the rest
	if err := errors.Join(h.timeline.Close(), h.lock.Close()); err != nil {
		return fmt.Errorf("close hub: %w", err)
	}
	return nil
}

// LogValue writes what is left.
func (l Left) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("suspended", l.Suspended), slog.Int("stuck", l.Stuck))
}

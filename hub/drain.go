package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// BeginDrain refuses new sessions from now on. Running ones go on.
func (h *Hub) BeginDrain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.IsDraining() {
		close(h.draining)
	}
}

// Draining is closed when the hub begins to drain.
func (h *Hub) Draining() <-chan struct{} { return h.draining }

// IsDraining says whether it has.
func (h *Hub) IsDraining() bool {
	select {
	case <-h.draining:
		return true
	default:
		return false
	}
}

// Left is what a drain leaves to the next process.
type Left struct {
	Suspended int // sessions that go on there
	Stuck     int // of them, those that did not come to rest; some of their work is done again
}

// Drain suspends all sessions: what is in flight is finished and recorded, until the
// context ends. It says what is left.
func (h *Hub) Drain(ctx context.Context) (left Left) {
	h.BeginDrain()
	running := h.list()
	for _, e := range running { // all at once; what has ended stays as it is
		e.Suspend()
	}
	for _, e := range running {
		select {
		case <-e.Done():
			if e.Suspended() {
				left.Suspended++
			}
		case <-ctx.Done():
			left.Suspended++
			left.Stuck++
			h.log.Warn("a session did not come to rest", "session", e.ID())
		}
	}
	return left
}

// rest is how long Close waits for sessions to come to rest.
const rest = 5 * time.Second

// Close suspends what still runs, and gives up the data directory last.
func (h *Hub) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), rest)
	defer cancel()
	left := h.Drain(ctx)
	close(h.quit)
	if left.Stuck == 0 {
		h.work.Wait()
	}
	if err := errors.Join(h.timeline.Close(), h.lock.Close()); err != nil {
		return fmt.Errorf("close hub: %w", err)
	}
	return nil
}

// LogValue writes what is left.
func (l Left) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("suspended", l.Suspended), slog.Int("stuck", l.Stuck))
}

package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"detections/session/wire"
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

// Lost is what a drain had to give up.
type Lost struct {
	Sessions int   // ended before their media did
	Pending  int64 // frames decoded and not inferred
}

// Drain lets running sessions finish until the context ends, then ends the rest as
// failed, and says what was lost. It returns when every session has its end event.
func (h *Hub) Drain(ctx context.Context) (lost Lost) {
	h.BeginDrain()
	running := h.list()
	for _, e := range running {
		select {
		case <-e.Done():
		case <-ctx.Done():
		}
	}
	for _, e := range running { // all at once; what has ended stays as it is
		e.Abort(wire.Errorf(wire.Draining, "the hub was shut down before the media ended; results so far are kept"))
	}
	for _, e := range running {
		<-e.Done()
		st := e.Status()
		if st.End == nil || st.End.Code != wire.Draining {
			continue
		}
		dropped := st.Accounting.Dropped["cancelled"]
		lost.Sessions++
		lost.Pending += dropped
		h.log.Warn("session cut off by the shutdown", "session", e.ID(), "inferred", st.Accounting.Inferred, "pending", dropped)
	}
	return lost
}

// Close ends what still runs, and gives up the data directory last.
func (h *Hub) Close() error {
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	h.Drain(stopped)
	close(h.quit)
	h.work.Wait()
	if err := errors.Join(h.cfg.Timeline.Close(), h.lock.Close()); err != nil {
		return fmt.Errorf("close hub: %w", err)
	}
	return nil
}

// LogValue writes what was lost.
func (l Lost) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("sessions", l.Sessions), slog.Int64("pending_frames", l.Pending))
}

package hub

import (
	"context"
	"iter"

	"detections/session"
	"detections/session/wire"
)

// Session is one of the principal's sessions, or Everyone's, and the epoch of its events.
func (h *Hub) Session(principal, id string) (*session.Session, string, error) {
	e, err := h.find(principal, id)
	if err != nil {
		return nil, "", err
	}
	return e.Session, e.epoch, nil
}

// Cancel stops a session and keeps what was found. A session that has ended stays
// as it is.
func (h *Hub) Cancel(principal, id string) (*session.Session, error) {
	e, err := h.find(principal, id)
	if err != nil {
		return nil, err
	}
	e.Cancel()
	return e.Session, nil
}

// Delete erases a session's media and results, after stopping it if it runs. When it
// returns nothing of them is in a file of the hub.
func (h *Hub) Delete(ctx context.Context, principal, id string) error {
	e, err := h.find(principal, id)
	if err != nil {
		return err
	}
	e.Cancel()
	select {
	case <-e.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.Suspended() {
		return wire.Errorf(wire.Draining, "the hub is shutting down; delete the session when it is back")
	}
	h.forget(e)
	if err := h.timeline.Erase(ctx, id); err != nil && ctx.Err() == nil {
		h.log.Warn("a deleted session is still in the store's files for a while", "session", id, "err", err)
	}
	return nil
}

// resultsBatch is how many events are read from the store at a time.
const resultsBatch = 256

// Events are a session's events as of now, in order.
func (h *Hub) Events(ctx context.Context, principal, id string) (iter.Seq2[wire.Event, error], error) {
	if _, err := h.find(principal, id); err != nil {
		return nil, err
	}
	return func(yield func(wire.Event, error) bool) {
		for after := uint64(0); ; {
			recs, err := h.timeline.Store().Read(ctx, id, after, resultsBatch)
			if err != nil {
				yield(wire.Event{}, storeError("read timeline", err))
				return
			}
			for _, r := range recs {
				after = r.Offset
				if !yield(r.Event, nil) {
					return
				}
			}
			if len(recs) == 0 {
				return
			}
		}
	}, nil
}

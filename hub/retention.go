package hub

import (
	"context"
	"slices"
	"time"
)

// run forgets what is past its retention.
func (h *Hub) run() {
	tick := time.NewTicker(max(time.Second, h.limits.Retention/60))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			h.sweep(now)
		case <-h.quit:
			return
		}
	}
}

// sweep deletes ended sessions that are too old, too many, or too large together.
func (h *Hub) sweep(now time.Time) {
	for e := h.expired(now); e != nil; e = h.expired(now) {
		h.forget(e)
	}
}

// lastLook is how long who was just told of a session's end can still read its results,
// however full the disk is.
const lastLook = time.Minute

// expired is the next session to delete, or nil: the oldest that is past its retention
// or must make room, of those whose results were delivered.
func (h *Hub) expired(now time.Time) *entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ended) == 0 {
		return nil
	}
	crowded, full := len(h.ended) > h.limits.Kept, h.disk.full(h.usedLocked())
	for _, e := range h.ended {
		switch age := now.Sub(e.endedAt); {
		case age < h.limits.Retention && !crowded && !(full && age >= lastLook):
			return nil
		case h.delivered(e):
			return e
		}
	}
	return nil
}

// forget deletes an ended session.
func (h *Hub) forget(e *entry) {
	h.mu.Lock()
	h.ended = slices.DeleteFunc(h.ended, func(o *entry) bool { return o == e })
	delete(h.sessions, e.ID())
	if h.keys[e.key] == e.ID() {
		delete(h.keys, e.key)
	}
	if h.known[e.known] == e.ID() {
		delete(h.known, e.known)
	}
	h.mu.Unlock()
	if err := h.timeline.Delete(context.Background(), e.ID()); err != nil {
		h.log.Warn("the timeline was not deleted", "session", e.ID(), "err", err)
	}
	if h.outbox != nil {
		h.outbox.Forget(e.ID())
	}
}

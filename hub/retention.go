package hub

import (
	"context"
	"slices"
	"time"
)

// run forgets what is past its retention.
func (h *Hub) run() {
	tick := time.NewTicker(min(max(time.Second, h.limits.Retention/60), maxSweep))
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

// maxSweep is how much longer than it asked a session is kept at most.
const maxSweep = 10 * time.Second

// sweep deletes ended sessions that are too old, too many, or too large together.
func (h *Hub) sweep(now time.Time) {
	for e := h.expired(now); e != nil; e = h.expired(now) {
		h.forget(e)
	}
}

// lastLook is how long who was just told of a session's end can still read its results,
// however full the disk is.
const lastLook = time.Minute

// retention is how long a session's results are kept.
func (h *Hub) retention(e *entry) time.Duration {
	if s := e.Asked().ExpiresS; s > 0 {
		return min(h.limits.Retention, time.Duration(s)*time.Second)
	}
	return h.limits.Retention
}

// Expires is when a session's results are deleted; zero while it runs.
func (h *Hub) Expires(id string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.sessions[id]
	if e == nil || e.endedAt.IsZero() {
		return time.Time{}
	}
	return e.endedAt.Add(h.retention(e))
}

// expired is the next session to delete, or nil: the oldest that is past its retention
// or must make room, of those whose results were delivered.
func (h *Hub) expired(now time.Time) *entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	crowded, full := len(h.ended) > h.limits.Kept, h.disk.full(h.usedLocked())
	for _, e := range h.ended {
		switch age := now.Sub(e.endedAt); {
		case age < h.retention(e) && !crowded && !(full && age >= lastLook):
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
	h.dropMedia(e)
	if err := h.timeline.Delete(context.Background(), e.ID()); err != nil {
		h.log.Warn("the timeline was not deleted", "session", e.ID(), "err", err)
	}
	if h.outbox != nil {
		h.outbox.Forget(e.ID())
	}
}

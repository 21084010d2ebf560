package hub

import (
	"context"
	"slices"
	"sync"
	"time"

	"detections/hub/timeline"
	"detections/session/wire"
)

// journal is a session's writer that lets the live tail see what it appends.
type journal struct {
	*timeline.Writer
	hub                *Hub
	session, principal string
}

// Append implements session.Journal.
func (j *journal) Append(ctx context.Context, after uint64, e wire.Event, replay []byte) error {
	begun := time.Now()
	err := j.hub.storage.write(func() error { return j.Writer.Append(ctx, after, e, replay) })
	if err != nil {
		return err
	}
	j.hub.cfg.OnAppend(time.Since(begun))
	if j.hub.outbox != nil {
		j.hub.outbox.Wake(j.session, e.Offset)
	}
	j.hub.tails.publish(TailEvent{Session: j.session, Event: e}, j.principal)
	return nil
}

// Commit implements session.Journal.
func (j *journal) Commit(ctx context.Context, bytes int64, final bool) error {
	return j.hub.storage.write(func() error { return j.Writer.Commit(ctx, bytes, final) })
}

// TailEvent is an event with its session.
type TailEvent struct {
	Session string
	wire.Event
}

// Tail is what one principal's sessions do, as it happens. It cannot be resumed: a
// reader that is too slow misses events, and Missed says how many.
type Tail struct {
	C         <-chan TailEvent
	c         chan TailEvent
	principal string
	owner     *tails
	missed    int // guarded by owner.mu
}

// tailBuffer is how many events a slow reader of the live tail can be behind.
const tailBuffer = 1024

type tails struct {
	mu   sync.Mutex
	open []*Tail
}

// Tail begins to follow a principal, or Everyone. Close it in the end.
func (h *Hub) Tail(principal string) *Tail {
	c := make(chan TailEvent, tailBuffer)
	t := &Tail{C: c, c: c, principal: principal, owner: &h.tails}
	h.tails.mu.Lock()
	defer h.tails.mu.Unlock()
	h.tails.open = append(h.tails.open, t)
	return t
}

// Close ends the following.
func (t *Tail) Close() {
	t.owner.mu.Lock()
	defer t.owner.mu.Unlock()
	t.owner.open = slices.DeleteFunc(t.owner.open, func(o *Tail) bool { return o == t })
}

// Missed is how many events were dropped since the last call.
func (t *Tail) Missed() int {
	t.owner.mu.Lock()
	defer t.owner.mu.Unlock()
	n := t.missed
	t.missed = 0
	return n
}

func (ts *tails) publish(e TailEvent, principal string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if !sees(t.principal, principal) {
			continue
		}
		select {
		case t.c <- e:
		default:
			t.missed++
		}
	}
}

package outbox

import "time"

// session is a session that has, or will have, something to deliver.
type session struct {
	id string

	// Owned by the sender whose turn it is.
	info     *Session // nil: not looked up yet
	limit    int      // most events of the next request
	failures int      // in a row
	doubts   int      // doubtful answers in a row
	scanned  uint64   // events passed since the cursor was last saved
	blurs    int      // how often the picture of the next event could not be taken
	blurred  uint64   // the event that goes without its picture

	// Guarded by Outbox.mu; cursor may be read without by the sender whose turn it is.
	where  place
	cursor uint64 // delivered, parked or not wanted up to here
	last   uint64 // of the last event that is known of
	since  time.Time
	ended  bool // the end event is behind the cursor
	gone   bool
	timer  *time.Timer // while waiting
}

// place is where a session is between its turns.
type place int

const (
	idle    place = iota // nothing to deliver
	queued               // in Outbox.ready
	busy                 // a sender has it
	waiting              // for its backoff
	stalled              // for room among the dead letters
)

func (s *session) stopTimer() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// Wake says that a session has events up to an offset. It does not block.
func (o *Outbox) Wake(id string, offset uint64) { o.wake(id, offset, nil) }

func (o *Outbox) wake(id string, offset uint64, info *Session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sessions[id]
	if s == nil {
		// Where it stands its first turn finds out.
		s = &session{id: id, cursor: max(offset, 1) - 1, limit: o.cfg.Batch}
		if info != nil {
			s.info, s.cursor, s.since = info, info.Delivered, info.Since
		}
		o.sessions[id] = s
	}
	s.last = max(s.last, offset)
	if s.where == idle && s.last > s.cursor {
		o.enqueue(s)
	}
}

// Forget says that a session was deleted: what is not delivered of it will not be.
// Its dead letters stay.
func (o *Outbox) Forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.sessions[id]
	if s == nil {
		return
	}
	s.gone = true
	if s.where != busy {
		o.drop(s)
	}
}

func (o *Outbox) deleted(s *session) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return s.gone
}

// drop, with mu held, forgets a session that no sender has.
func (o *Outbox) drop(s *session) {
	s.stopTimer()
	delete(o.sessions, s.id)
	o.work.Broadcast()
}

// enqueue, with mu held, gives a session a place behind all others.
func (o *Outbox) enqueue(s *session) {
	s.stopTimer()
	s.where = queued
	if s.since.IsZero() {
		s.since = time.Now()
	}
	o.ready = append(o.ready, s)
	o.work.Broadcast()
}

// next waits for a session's turn; nil: there is none any more.
func (o *Outbox) next() *session {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		switch {
		case o.closed:
			return nil
		case len(o.ready) == 0:
			o.work.Wait()
			continue
		}
		s := o.ready[0]
		o.ready[0] = nil
		o.ready = o.ready[1:]
		if !s.gone {
			s.where = busy
			return s
		}
	}
}

// over ends a session's turn and says where it waits for the next one.
func (o *Outbox) over(s *session, t turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.cursor > s.cursor {
		s.cursor, s.since = t.cursor, time.Now()
	}
	s.last = max(s.last, s.cursor)
	if s.last == s.cursor {
		s.since = time.Time{}
	}
	s.ended = s.ended || t.ended
	switch {
	case s.gone || t.gone || s.ended && s.last == s.cursor:
		o.drop(s)
	case t.full:
		s.where = stalled
		o.work.Broadcast()
	case t.wait > 0 && !o.closed:
		s.where = waiting
		s.timer = time.AfterFunc(t.wait, func() { o.wakeWaiting(s) })
	case s.last > s.cursor:
		o.enqueue(s)
	default:
		s.where = idle
		o.work.Broadcast() // for Flush
	}
}

func (o *Outbox) wakeWaiting(s *session) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.where == waiting && !s.gone && !o.closed {
		o.enqueue(s)
	}
}

// unstall gives the sessions another turn that waited for room among the dead letters.
func (o *Outbox) unstall() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.sessions {
		if s.where == stalled {
			o.enqueue(s)
		}
	}
}

// backlog, with mu held, is what is not delivered: sessions, events, sessions among
// them that are stalled, and since when the oldest waits.
func (o *Outbox) backlog() (sessions int, events uint64, halted int, oldest time.Time) {
	for _, s := range o.sessions {
		if s.where == idle {
			continue
		}
		sessions++
		events += max(s.last, s.cursor) - s.cursor
		if s.where == stalled {
			halted++
		}
		if oldest.IsZero() || !s.since.IsZero() && s.since.Before(oldest) {
			oldest = s.since
		}
	}
	return sessions, events, halted, oldest
}

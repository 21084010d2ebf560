package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"detections/session/wire"
)

// turn is what became of a session's turn.
type turn struct {
	cursor uint64        // where it stands now
	ended  bool          // with its end event behind it
	wait   time.Duration // before its next turn
	full   bool          // it needs a dead letter, and there is no room
	gone   bool          // there is no such session
}

// turn makes a session's next request, if there is anything to deliver.
func (o *Outbox) turn(ctx context.Context, s *session) turn {
	if s.info == nil {
		info, err := o.cfg.Source.Session(ctx, s.id)
		if err != nil {
			return o.unread(ctx, s, fmt.Errorf("look up session: %w", err))
		}
		if !o.lookedUp(s, &info) {
			return turn{cursor: s.cursor}
		}
	}
	b, err := o.collect(ctx, s, s.limit)
	if err != nil {
		return o.unread(ctx, s, err)
	}
	if len(b.events) == 0 {
		return o.pass(ctx, s, b)
	}
	an, open, err := o.request(ctx, s, name(s.info, b.events), encode(s.info, b.events))
	if s.doubts++; err != nil || an.meaning != doubtful {
		s.doubts = 0
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return turn{cursor: s.cursor}
	case errors.Is(err, ErrUnknown):
		return turn{gone: true}
	case err != nil:
		return o.again(s, open, fmt.Errorf("the Annotations service cannot be reached: %w", err))
	case an.meaning == later:
		return o.again(s, open, fmt.Errorf("the Annotations service does not take events: %s", an.reason))
	case an.meaning == doubtful && s.doubts < o.cfg.BelieveAfter:
		return o.again(s, open, fmt.Errorf("the Annotations service refuses session %s: %s", s.id, an.reason))
	case an.meaning == stored:
		return o.settle(ctx, s, b, an)
	}
	if len(b.events) > 1 { // one of them, or some: halves find out
		s.limit = len(b.events) / 2
		return turn{cursor: s.cursor}
	}
	an.events = map[string]result{}
	k := key(s.info, b.events[0].Offset)
	an.events[k] = result{Key: k, Status: an.status, Error: an.reason}
	return o.settle(ctx, s, b, an)
}

// lookedUp notes where a session stands that was only heard of, and says whether there
// is anything to deliver.
func (o *Outbox) lookedUp(s *session, info *Session) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.info, s.cursor = info, info.Delivered
	s.last = max(s.last, info.Offset)
	s.ended = info.Ended && info.Delivered == info.Offset
	return s.last > s.cursor
}

// request passes the breaker and makes one request. open: the breaker is, now.
// ErrUnknown: the session was deleted while it waited at the breaker.
func (o *Outbox) request(ctx context.Context, s *session, name string, body []byte) (an answer, open bool, err error) {
	probe, err := o.breaker.enter(ctx)
	if err != nil {
		return answer{}, false, err
	}
	if o.deleted(s) {
		return answer{}, o.breaker.leave(probe, nothing, 0), ErrUnknown
	}
	begun := time.Now()
	an, err = o.cfg.Service.deliver(ctx, name, body)
	o.cfg.OnRequest(time.Since(begun), an.status, err)
	v := alive
	switch {
	case err != nil && ctx.Err() != nil:
		v = nothing
	case err != nil || an.meaning == later:
		v = failing
	}
	return an, o.breaker.leave(probe, v, an.hold), err
}

// unread is a turn that ends because the source failed.
func (o *Outbox) unread(ctx context.Context, s *session, err error) turn {
	switch {
	case errors.Is(err, ErrUnknown):
		return turn{gone: true}
	case ctx.Err() != nil:
		return turn{cursor: s.cursor}
	}
	o.failed(s.id, err)
	s.failures++
	return turn{cursor: s.cursor, wait: o.cfg.Backoff.delay(s.failures)}
}

// again is a turn whose request will be repeated, with half the events: it may be too
// much for the service. While the breaker is open it is the breaker that makes the
// session wait, or sessions would still be waiting when the service is back.
func (o *Outbox) again(s *session, open bool, err error) turn {
	o.failed(s.id, err)
	o.retried.Add(1)
	s.failures++
	s.limit = max(1, s.limit/2)
	t := turn{cursor: s.cursor}
	if !open {
		t.wait = o.cfg.Backoff.delay(s.failures)
	}
	return t
}

// pass moves the cursor over events that are not delivered. It is saved now and then:
// losing it costs another look at them.
func (o *Outbox) pass(ctx context.Context, s *session, b batch) turn {
	s.scanned += b.next - s.cursor
	if s.scanned >= page {
		o.save(ctx, s, b.next)
	}
	t := turn{cursor: b.next}
	if b.next == s.cursor { // it was announced, but is not there (yet)
		t.wait = o.cfg.Backoff.delay(1)
	}
	return t
}

// settle parks what was refused of a batch, and moves the cursor up to the first event
// that is still to be delivered.
func (o *Outbox) settle(ctx context.Context, s *session, b batch, an answer) turn {
	t := turn{cursor: s.cursor}
	for _, e := range b.events {
		k := key(s.info, e.Offset)
		r, is := an.events[k]
		var err error
		switch {
		case is && meaningOf(r.Status) == later:
			err = fmt.Errorf("the Annotations service does not take event %s: %s", k, r.Error)
		case is:
			err = o.park(s, e, r)
		default:
			o.sent.Add(1)
			if e.blurred {
				o.unpictured.Add(1)
			}
			s.failures = 0
		}
		if err != nil {
			o.save(ctx, s, t.cursor)
			next := o.again(s, false, err)
			next.cursor, next.full = t.cursor, errors.Is(err, errFull)
			return next
		}
		t.cursor, t.ended = e.Offset, e.Type == wire.TypeEnd
	}
	t.cursor = b.next
	o.save(ctx, s, t.cursor)
	if len(an.events) < len(b.events) {
		s.limit = min(o.cfg.Batch, 2*s.limit)
	}
	return t
}

// park makes a dead letter of an event.
func (o *Outbox) park(s *session, e item, r result) error {
	one := Letter{
		Key: r.Key, Session: s.id, Principal: s.info.Principal, Offset: e.Offset,
		Status: r.Status, Reason: r.Error, At: time.Now().UTC(), Request: encode(s.info, []item{e}),
	}
	if err := o.letters.put(one); err != nil {
		return err
	}
	o.parked.Add(1)
	o.log.Error("the Annotations service refused an event; it is parked", "session", s.id, "offset", e.Offset, "status", r.Status, "err", r.Error)
	return nil
}

// save makes the cursor durable. A failure costs no event: they are delivered again.
func (o *Outbox) save(ctx context.Context, s *session, cursor uint64) {
	if cursor == s.info.Delivered {
		return
	}
	// What was delivered was, even if this is the end.
	if err := o.cfg.Source.Deliver(context.WithoutCancel(ctx), s.id, cursor); err != nil {
		if !errors.Is(err, ErrUnknown) {
			o.failed(s.id, fmt.Errorf("save cursor: %w", err))
		}
		return
	}
	s.info.Delivered, s.scanned = cursor, 0
}

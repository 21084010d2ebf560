package web

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"detections/hub"
	"detections/session"
	"detections/session/wire"
)

// keepAlive is how often an idle stream sends something, so that proxies keep it.
const keepAlive = 15 * time.Second

// follow sends a session's events until its end.
func (s *Server) follow(r *http.Request, a *session.Attachment, out *eventWriter) error {
	out.epoch = a.Started.Epoch
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	progress := time.NewTicker(time.Second)
	defer progress.Stop()
	var state wire.State
	var told uint64
	for over := false; ; {
		changed := a.Session.Changed() // before looking, so that nothing is missed
		st := a.Session.Status()
		if now := st.Told(); !now.Same(state) && st.State != wire.Ended {
			state = now
			if err := out.message(wire.TypeState, wire.Encode(state)); err != nil {
				return err
			}
		}
		events, more, err := a.Reader.Poll(r.Context())
		for _, e := range events {
			if e.Empty && a.Results == wire.NonEmpty {
				continue
			}
			if err := out.event(e, e.Message); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(events) > 0:
			continue
		case over && a.Session.Suspended():
			return out.message(wire.TypeGoAway, wire.NewGoAway())
		case over:
			return errors.New("the session ended without an end event")
		}
		select {
		case <-more:
		case <-changed:
		case <-a.Session.Done():
			over = true // look once more
		case <-progress.C:
			if st := a.Session.Status(); st.Offset != told {
				told = st.Offset
				err = out.message(wire.TypeProgress, wire.Encode(st.Progress()))
			}
		case <-idle.C:
			err = out.comment()
		case <-r.Context().Done():
			err = r.Context().Err()
		}
		if err != nil {
			return err
		}
	}
}

// stream answers GET /detect/stream.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	q, principal := r.URL.Query(), sees(r)
	id := q.Get("session")
	switch {
	case id == "" && q.Has("media"):
		found, err := s.hub.FindMedia(principal, q.Get("media"))
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		id = found
	case id == "":
		s.tail(w, r, principal)
		return
	}
	watch, err := watchOf(r, id)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	a, err := s.hub.Watch(r.Context(), principal, watch)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer a.Reader.Close()
	out := newEventWriter(w, r)
	out.open()
	if out.message(wire.TypeStarted, wire.Encode(a.Started)) != nil {
		return
	}
	if err := s.follow(r, a, out); err != nil {
		s.log.Debug("reader gone", "session", id, "err", err)
	}
}

// watchOf makes a watch message of a request. Last-Event-ID is "epoch:offset"; where
// headers cannot be set the query parameter last_event_id does the same.
func watchOf(r *http.Request, id string) (wire.Watch, error) {
	q := r.URL.Query()
	m := wire.Watch{Session: id, Results: wire.Results(q.Get("results"))}
	if last := cmp.Or(r.Header.Get("Last-Event-ID"), q.Get("last_event_id")); last != "" {
		epoch, offset, _ := strings.Cut(last, ":")
		n, err := strconv.ParseUint(offset, 10, 64)
		if err != nil {
			return m, wire.Errorf(wire.BadMessage, "Last-Event-ID: expected epoch:offset as sent before, got %.60q", last)
		}
		m.Epoch, m.Offset = epoch, n
	}
	if err := m.Validate(); err != nil {
		return m, wire.Errorf(wire.BadMessage, "%s", err)
	}
	return m, nil
}

// aiState is how far the engine is, as the live tail tells it.
func (s *Server) aiState() wire.State {
	st := s.hub.AI().Status()
	told := st.Told()
	m := wire.State{Type: wire.TypeState, State: wire.WaitingForEngine, AI: &told}
	if st.Availability == hub.Enabled {
		m.State = wire.Running
	}
	return m
}

// tail sends what all of the principal's sessions do from now on, and how far the engine
// is, until the token expires.
func (s *Server) tail(w http.ResponseWriter, r *http.Request, principal string) {
	t := s.hub.Tail(principal)
	defer t.Close()
	out := newEventWriter(w, r)
	out.open()
	if out.comment() != nil || out.rc.Flush() != nil {
		return
	}
	idle := time.NewTicker(keepAlive)
	defer idle.Stop()
	expired, stop := identity(r).Expired() // a session ends by itself, the tail does not
	defer stop()
	var state wire.State
	for {
		changed := s.hub.AI().Changed() // before looking, so that nothing is missed
		if now := s.aiState(); !now.Same(state) {
			state = now
			if out.message(wire.TypeState, wire.Encode(state)) != nil {
				return
			}
		}
		var err error
		select {
		case <-changed:
		case e := <-t.C:
			if n := t.Missed(); n > 0 {
				s.log.Warn("a reader of the live tail is too slow", "missed", n)
			}
			// The session's name goes in front: all messages are JSON objects.
			err = out.event(e.Event, fmt.Appendf(nil, `{"session":%q,%s`, e.Session, e.Message[1:]))
		case <-idle.C:
			err = out.comment()
		case <-s.hub.Stopping():
			return
		case <-expired:
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

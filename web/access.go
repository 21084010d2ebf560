package web

import (
	"context"
	"net/http"

	"detections/hub"
	"detections/session/wire"
	"detections/session/ws"
	"detections/web/auth"
)

// route is what answers to a pattern, and the role that it takes.
type route struct {
	pattern string
	role    auth.Role
	handler http.HandlerFunc
}

// open marks routes for everybody: they say nothing of sessions or of the machine.
const open auth.Role = 0

// visitKey is where a request's context has its visit.
type visitKey struct{}

// visit is a request of somebody who was let in.
type visit struct {
	auth.Identity
	leave func() // counts it out
	stays bool   // as a WebSocket, which calls leave itself
}

// allow lets those in who have a role; the others get a problem.
func (s *Server) allow(role auth.Role, next http.HandlerFunc) http.HandlerFunc {
	if role == open {
		return next
	}
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := s.cfg.Auth.Identify(r)
		if err == nil {
			err = id.May(role)
		}
		leave := func() {}
		if err == nil {
			leave, err = s.enter(r, id)
		}
		if err != nil {
			if wire.AsError(err).Code == wire.Unauthorized {
				s.gate.strangers.Add(1)
			}
			s.log.Debug("refused", "method", r.Method, "path", auth.Redact(r.URL.Path), "client", s.gate.client(r).String(), "err", err)
			s.refuse(w, r, err)
			return
		}
		v := &visit{Identity: id, leave: leave}
		defer func() {
			if !v.stays {
				leave()
			}
		}()
		next(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	}
}

// enter counts in a request of somebody. Without authentication there is only one.
func (s *Server) enter(r *http.Request, id auth.Identity) (leave func(), err error) {
	name := id.Principal
	if s.cfg.Auth == nil {
		name = ""
	}
	if !s.callers.enter(name) {
		return nil, wire.Errorf(wire.Quota, "%d of your requests and connections are open, which is the limit for one client", s.callers.most)
	}
	passed, err := s.gate.pass(r)
	if err != nil {
		s.callers.leave(name)
		return nil, err
	}
	return func() { passed(); s.callers.leave(name) }, nil
}

// identity is who makes a request that allow let in.
func identity(r *http.Request) auth.Identity {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		return v.Identity
	}
	return auth.Identity{}
}

// principal owns what the request starts.
func principal(r *http.Request) string { return identity(r).Principal }

// sees is whose sessions the request may look at: an admin's those of all, unless there
// is no authentication, and so nobody else.
func sees(r *http.Request) string {
	if id := identity(r); id.Roles&auth.Admin == auth.Admin && id != auth.Local {
		return hub.Everyone
	}
	return principal(r)
}

// known says whether an open request comes from somebody who may read.
func (s *Server) known(r *http.Request) bool {
	id, err := s.cfg.Auth.Identify(r)
	return err == nil && id.May(auth.Read) == nil
}

// caller is who opens a WebSocket.
func caller(r *http.Request) ws.Caller {
	v, ok := r.Context().Value(visitKey{}).(*visit)
	if !ok {
		panic("a WebSocket that nobody let in")
	}
	v.stays = true
	id := v.Identity // not the visit, which has the request's
	return ws.Caller{Principal: id.Principal, Sees: sees(r), Leave: v.leave, May: func() error { return id.May(auth.Stream) }}
}

// ticket answers POST /v1/tickets.
func (s *Server) ticket(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Auth == nil {
		s.refuse(w, r, wire.Errorf(wire.BadMessage, "authentication is off: nothing here takes a ticket"))
		return
	}
	text, err := s.cfg.Auth.Ticket(identity(r))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, typeJSON, http.StatusCreated, struct {
		Ticket   string `json:"ticket"`
		ExpiresS int    `json:"expires_s"`
	}{text, int(auth.TicketTime.Seconds())})
}

package web

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"detections/session"
	"detections/session/wire"
)

// video answers POST /detect/video: the body goes in while events come out.
func (s *Server) video(w http.ResponseWriter, r *http.Request) {
	start, err := startOf(r.URL.Query())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	pace := s.pace(w, r)
	body, err := openUpload(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	start.Media.Size = body.size
	if start.Media.Name == "" {
		start.Media.Name = body.name
	}
	a, err := s.hub.Start(r.Context(), principal(r), start)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer a.Reader.Close()
	rc := fullDuplex(w, r)
	fed := make(chan struct{})
	go func() { defer close(fed); feed(a.Feeder, body) }()
	if prefersAsync(r) {
		s.accepted(w, r, a)
		_ = rc.Flush() // if the client is gone the body says so
		select {       // the body goes on
		case <-fed:
		case <-a.Session.Done():
		}
	} else {
		s.answer(w, r, a)
		_ = rc.Flush()
	}
	// The session may have ended before the body has: who still sends is heard for a
	// moment, because closing a socket on unread bytes can destroy the answer.
	pace.hurry(lastBytes)
	<-fed
}

// lastBytes is how long a body that nobody needs any more is waited for.
const lastBytes = 500 * time.Millisecond

// fullDuplex lets the answer begin before the body has ended, which HTTP/1.1 does
// not do by itself; HTTP/2 does, and says so by an error. The connection then ends
// with the answer: what is left of the body must not be taken for the next request.
func fullDuplex(w http.ResponseWriter, r *http.Request) *http.ResponseController {
	rc := http.NewResponseController(w)
	if rc.EnableFullDuplex() == nil && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	return rc
}

// bodyChunk is how much of a body is read at a time.
const bodyChunk = 64 << 10

// feed sends a body into a session.
func feed(f *session.Feeder, body io.Reader) {
	_, err := io.CopyBuffer(f.Paced(), body, make([]byte, bodyChunk))
	e, refused := errors.AsType[*wire.Error](err)
	switch {
	case err == nil:
		f.EOF()
	case refused:
		f.Fail(e)
	default:
		f.Leave(cutOff)
	}
}

// cutOff is how long an upload whose body was cut short waits for somebody who resumes
// it over a WebSocket: what sends a body seldom can.
const cutOff = 15 * time.Second

// answer streams the session's events, or a problem if it fails before its media
// was recognised.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, a *session.Attachment) {
	select {
	case <-a.Session.Ready():
	case <-r.Context().Done():
		return
	}
	if e := a.Session.Failure(); e != nil && a.Session.Status().Accounting.Decoded == 0 {
		s.refuse(w, r, e)
		return
	}
	out := newEventWriter(w, r)
	out.open()
	if err := out.message(wire.TypeStarted, wire.Encode(a.Started)); err != nil {
		return
	}
	if err := s.follow(r, a, out); err != nil {
		s.log.Debug("reader gone", "session", a.Session.ID(), "err", err)
	}
}

// prefersAsync says whether the client asked, by RFC 7240, not to wait for results.
func prefersAsync(r *http.Request) bool {
	for _, v := range r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(p), "respond-async") {
				return true
			}
		}
	}
	return false
}

// accepted answers 202 as soon as the media was recognised, while the body goes on.
func (s *Server) accepted(w http.ResponseWriter, r *http.Request, a *session.Attachment) {
	select {
	case <-a.Session.Ready():
	case <-r.Context().Done():
		return
	}
	if e := a.Session.Failure(); e != nil && a.Session.Status().Accounting.Decoded == 0 {
		s.refuse(w, r, e)
		return
	}
	h := w.Header()
	h.Set("Preference-Applied", "respond-async")
	h.Set("Location", "/v1/sessions/"+a.Session.ID())
	h.Set("Content-Type", typeJSON)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusAccepted)
	// The answer ends only when the body has: many clients stop sending a body when
	// they have the whole answer.
	_, _ = w.Write(append(wire.Encode(a.Started), '\n')) //nolint:gosec // G705: JSON; the client may be gone
	_ = http.NewResponseController(w).Flush()
}

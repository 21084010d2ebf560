package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"detections/media"
	"detections/session/rtc"
	"detections/session/wire"
	"detections/web/auth"
)

const (
	typeSDP     = "application/sdp"
	typeSDPFrag = "application/trickle-ice-sdpfrag"
)

// whipTable has the routes of WHIP (RFC 9725).
func (s *Server) whipTable() []route {
	return []route{
		{"OPTIONS /v1/whip", open, s.whipOptions},
		{"POST /v1/whip", auth.Stream, s.whip(s.whipOffer)},
		{"PATCH /v1/whip/{resource}", auth.Stream, s.whip(s.whipPatch)},
		{"DELETE /v1/whip/{resource}", auth.Stream, s.whip(s.whipDelete)},
	}
}

// whip makes a handler of WHIP's routes that change something.
func (s *Server) whip(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := error(wire.Errorf(wire.NotOffered, "this hub takes no WebRTC: its media port could not be opened, or --rtc-listen is off"))
		if s.cfg.RTC != nil {
			err = h(w, r)
		}
		if err != nil {
			s.refuseWHIP(w, r, err)
		}
	}
}

// refuseWHIP has two statuses of its own. An offer that is understood but offers
// nothing of use is 422 in WHIP; that its type is none is 415, as everywhere.
func (s *Server) refuseWHIP(w http.ResponseWriter, r *http.Request, err error) {
	e := wire.AsError(err)
	if st, ok := errors.AsType[*statusError](err); ok {
		s.problem(w, st.status, e)
		return
	}
	if e.Code == wire.UnsupportedMedia {
		s.problem(w, http.StatusUnprocessableEntity, e)
		return
	}
	s.refuse(w, r, err)
}

// statusError has another status than the table of errors gives it.
type statusError struct {
	status int
	why    *wire.Error
}

func (e *statusError) Error() string { return e.why.Error() }
func (e *statusError) Unwrap() error { return e.why }

// whipOptions answers OPTIONS /v1/whip. ICE servers are for who may know of them: there
// can be a password among them.
func (s *Server) whipOptions(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Accept-Post", typeSDP)
	if s.known(r) {
		s.iceLinks(w)
	}
	w.WriteHeader(http.StatusNoContent)
}

// iceLinks tells the servers that may help a client to be reached.
func (s *Server) iceLinks(w http.ResponseWriter) {
	if s.cfg.RTC == nil {
		return
	}
	for _, i := range s.cfg.RTC.ICEServers() {
		link := fmt.Sprintf("<%s>; rel=\"ice-server\"", i.URL)
		if i.Username != "" {
			link += fmt.Sprintf("; username=%q; credential=%q; credential-type=\"password\"", i.Username, i.Credential)
		}
		w.Header().Add("Link", link)
	}
}

// body reads a request's text of one type.
func (s *Server) body(w http.ResponseWriter, r *http.Request, kind string, most int64) (string, error) {
	if got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || got != kind {
		return "", &statusError{http.StatusUnsupportedMediaType, wire.Errorf(wire.UnsupportedMedia, "expected Content-Type: %s, got %.100q", kind, r.Header.Get("Content-Type"))}
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "", wire.Errorf(wire.TooLarge, "the body has more than %d bytes", most)
	}
	if err != nil {
		return "", wire.Errorf(wire.BadMessage, "the body cannot be read: %v", err)
	}
	return string(b), nil
}

// whipOffer answers POST /v1/whip.
func (s *Server) whipOffer(w http.ResponseWriter, r *http.Request) error {
	offer, err := s.body(w, r, typeSDP, rtc.MaxSDP)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	start, err := startOf(q)
	if err != nil {
		return err
	}
	start.Mode, start.Key = wire.Live, ""
	start.Media = wire.Media{Container: media.Units, Name: start.Media.Name}
	id := identity(r)
	a, err := s.cfg.RTC.Offer(r.Context(), id.Principal, rtc.Offer{
		SDP: offer, Start: start, Session: q.Get("session"), May: func() error { return id.May(auth.Stream) },
	})
	if err != nil {
		return err
	}
	h := w.Header()
	s.iceLinks(w)
	h.Set("Location", "/v1/whip/"+a.Resource)
	h.Set("ETag", a.ETag)
	h.Set("Session", a.Session)
	h.Set("Content-Type", typeSDP)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, a.SDP) // the client may be gone
	return nil
}

// whipPatch answers PATCH /v1/whip/{resource}.
func (s *Server) whipPatch(w http.ResponseWriter, r *http.Request) error {
	text, err := s.body(w, r, typeSDPFrag, rtc.MaxFragment)
	if err != nil {
		return err
	}
	match := strings.TrimSpace(r.Header.Get("If-Match"))
	if match == "" {
		return &statusError{http.StatusPreconditionRequired, wire.Errorf(wire.BadMessage, "PATCH needs If-Match with the ETag of the last answer, or * to restart ICE")}
	}
	answer, etag, err := s.cfg.RTC.Patch(principal(r), r.PathValue("resource"), match, text)
	switch {
	case errors.Is(err, rtc.ErrETag):
		return &statusError{http.StatusPreconditionFailed, rtc.ErrETag}
	case err != nil:
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	if answer == "" { // nor an ETag: it is the same ICE session
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", typeSDPFrag)
	_, _ = io.WriteString(w, answer) //nolint:gosec // G705: SDP, by its type; the client may be gone
	return nil
}

// whipDelete answers DELETE /v1/whip/{resource}.
func (s *Server) whipDelete(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.RTC.Delete(principal(r), r.PathValue("resource")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

package web

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"detections/hub"
	"detections/session/wire"
)

// fetch answers POST /detect/{media_id}: the media comes from the Annotations service.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	if err := s.startFetch(w, r); err != nil {
		s.refuse(w, r, err)
	}
}

func (s *Server) startFetch(w http.ResponseWriter, r *http.Request) error {
	start, err := startOf(r.URL.Query())
	if err != nil {
		return err
	}
	start.Media.ID = r.PathValue("media_id")
	if err := start.Validate(); err != nil {
		return wire.Errorf(wire.BadMessage, "%s", err)
	}
	a, err := s.hub.Fetch(r.Context(), principal(r), start)
	if errors.Is(err, hub.ErrNoAnnotations) {
		s.noAnnotations(w)
		return nil
	}
	if err != nil {
		return err
	}
	a.Reader.Close()
	w.Header().Set("Location", "/v1/sessions/"+a.Session.ID())
	writeJSON(w, typeJSON, http.StatusAccepted, a.Started)
	return nil
}

// noAnnotations says that there is no Annotations service.
func (*Server) noAnnotations(w http.ResponseWriter) {
	writeJSON(w, typeProblem, http.StatusNotFound, problem{
		Type: "about:blank", Title: http.StatusText(http.StatusNotFound), Status: http.StatusNotFound, Code: wire.BadMessage,
		Detail: hub.ErrNoAnnotations.Error(),
	})
}

// byMedia answers GET /v1/media/{sha256}: which sessions have results for these bytes.
func (s *Server) byMedia(w http.ResponseWriter, r *http.Request, principal, sum string) error {
	if b, err := hex.DecodeString(sum); err != nil || len(b) != 32 {
		return wire.Errorf(wire.BadMessage, "expected the SHA-256 of the media as 64 hex digits, got %.80q", sum)
	}
	list := []sessionInfo{}
	for _, st := range s.hub.ByMedia(principal, sum) {
		list = append(list, s.infoOf(principal, st))
	}
	if len(list) == 0 {
		return wire.Errorf(wire.UnknownMedia, "there are no results for media with the SHA-256 %s", sum)
	}
	writeJSON(w, typeJSON, http.StatusOK, struct {
		SHA256   string        `json:"media_sha256"`
		Sessions []sessionInfo `json:"sessions"`
	}{strings.ToLower(sum), list})
	return nil
}

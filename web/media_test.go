package web_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"detections/hub/outbox/outboxtest"
	"detections/session/wire"
)

func sumOf(media []byte) string {
	sum := sha256.Sum256(media)
	return hex.EncodeToString(sum[:])
}

func TestMediaOfTheAnnotationsServiceIsFetched(t *testing.T) {
	service := &outboxtest.Service{}
	service.PutMedia("a/b", outboxtest.Media{Name: "street.mp4", ETag: `"1"`, Body: video(9)})
	s := newHouse(t, options{service: service})
	a := s.do("POST", "/detect/a%2Fb?every=3", nil)
	var started wire.Started
	s.object(a, http.StatusAccepted, &started)
	if a.Header.Get("Location") != "/v1/sessions/"+started.Session || started.Token != "" {
		t.Errorf("location %q, started %+v", a.Header.Get("Location"), started)
	}
	end := s.events(s.get("/detect/stream?media=a%2Fb")).untilEnd()
	if end.Outcome != wire.Done || end.Accounting.Decoded != 9 || end.Accounting.Inferred != 3 {
		t.Errorf("end %+v", end)
	}
	var info struct{ Media wire.Media }
	s.object(s.get("/v1/sessions/"+started.Session), http.StatusOK, &info)
	if m := info.Media; m.ID != "a/b" || m.Name != "street.mp4" || m.Size != 900 {
		t.Errorf("media %+v", m)
	}
}

func TestFetchesAreRefusedInTheirWords(t *testing.T) {
	// Of the media 100 bytes come, and no more: its session runs until it is cancelled.
	service := &outboxtest.Service{Cut: func(n int) int { return max(0, 100-100*n) }}
	service.PutMedia("a", outboxtest.Media{Body: video(9)})
	s := newHouse(t, options{service: service})
	s.problem(s.do("POST", "/detect/nothing", nil), 404, wire.UnknownMedia, "no such media")
	s.problem(s.do("POST", "/detect/a?fps=fast", nil), 400, wire.BadMessage, "fps")
	s.problem(s.do("POST", "/detect/a?mode=live", nil), 400, wire.BadMessage, "mode")
	s.problem(s.do("POST", "/detect/"+strings.Repeat("a", 300), nil), 400, wire.BadMessage, "255")
	var started wire.Started
	s.object(s.do("POST", "/detect/a", nil), http.StatusAccepted, &started)
	s.problem(s.do("POST", "/detect/a", nil), 409, wire.Conflict, started.Session)
	s.do("POST", "/v1/sessions/"+started.Session+"/cancel", nil)
	s.object(s.do("POST", "/detect/a", nil), http.StatusAccepted, &started)
	s.do("DELETE", "/v1/sessions/"+started.Session, nil)

	s = newHouse(t, options{})
	s.problem(s.do("POST", "/detect/a", nil), 404, wire.BadMessage, "--annotations-url")
}

func TestResultsAreFoundByTheirMedia(t *testing.T) {
	s := newHouse(t, options{})
	first, _ := s.lines(s.do("POST", "/detect/video", bytes.NewReader(video(3)), "Accept", "application/x-ndjson"))
	second, _ := s.lines(s.do("POST", "/detect/video?every=2", bytes.NewReader(video(3)), "Accept", "application/x-ndjson"))
	sum := sumOf(video(3))
	var list struct {
		SHA256   string `json:"media_sha256"`
		Sessions []shown
	}
	s.object(s.get("/v1/media/"+strings.ToUpper(sum)), http.StatusOK, &list)
	if len(list.Sessions) != 2 || list.Sessions[0].Session != first[0].Session || list.SHA256 != sum {
		t.Errorf("found %+v", list)
	}
	newest := s.events(s.get("/detect/stream?media=" + sum))
	if newest.untilEnd(); newest.log[0].data == "" || len(newest.log) != 4 { // configured, frames 0 and 2, end
		t.Errorf("%d events of the newest session, %s", len(newest.log), second[0].Session)
	}
	s.problem(s.get("/v1/media/"+sumOf(nil)), 404, wire.UnknownMedia, "no results")
	s.problem(s.get("/v1/media/street.mp4"), 400, wire.BadMessage, "64 hex digits")
}

func TestKnownMediaIsAnsweredAtOnceOverHTTP(t *testing.T) {
	s := newHouse(t, options{})
	want, _ := s.lines(s.do("POST", "/detect/video", bytes.NewReader(video(3)), "Accept", "application/x-ndjson"))
	got, end := s.lines(s.do("POST", "/detect/video?sha256="+sumOf(video(3)), http.NoBody, "Accept", "application/x-ndjson"))
	if got[0].Session != want[0].Session || end.Accounting.Inferred != 3 {
		t.Errorf("started %+v, end %+v", got[0], end)
	}
}

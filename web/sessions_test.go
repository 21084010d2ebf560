package web_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"detections/session/wire"
)

type shown struct {
	Session    string
	State      wire.StateName
	Bytes      int64
	Accounting wire.Accounting
	End        *wire.End
}

// accepted starts an upload that does not wait for its results.
func accepted(u *upload) string {
	u.send(video(2))
	a := u.answer()
	var started wire.Started
	if err := json.NewDecoder(a.Body).Decode(&started); err != nil || a.StatusCode != http.StatusAccepted {
		u.t.Fatalf("%s %v", a.Status, err)
	}
	if a.Header.Get("Preference-Applied") != "respond-async" || a.Header.Get("Location") != "/v1/sessions/"+started.Session {
		u.t.Errorf("headers %v", a.Header)
	}
	return started.Session
}

func TestRespondAsyncAnswersWhileTheBodyGoesOn(t *testing.T) {
	s := newHouse(t, options{})
	u := s.upload("/detect/video", "Prefer", "wait=5, respond-async")
	id := accepted(u)
	u.send(video(3))
	u.end()
	end := s.events(s.get("/detect/stream?session=" + id)).untilEnd()
	if end.Outcome != wire.Done || end.Accounting.Inferred != 5 {
		t.Errorf("end %+v", end)
	}
}

func TestRespondAsyncStillRefusesWhatIsNoMedia(t *testing.T) {
	s := newHouse(t, options{})
	a := s.do("POST", "/detect/video", strings.NewReader(""), "Prefer", "respond-async")
	s.problem(a, http.StatusUnsupportedMediaType, wire.UnsupportedMedia, "empty")
}

func TestSessionsAreListedAndInspected(t *testing.T) {
	s := newHouse(t, options{})
	u := s.upload("/detect/video?name=street.mp4", "Prefer", "respond-async")
	id := accepted(u)
	var list struct{ Sessions []shown }
	s.object(s.get("/v1/sessions"), http.StatusOK, &list)
	if len(list.Sessions) != 1 || list.Sessions[0].Session != id || list.Sessions[0].State != wire.Running || list.Sessions[0].End != nil {
		t.Errorf("list %+v", list)
	}
	u.end()
	s.events(s.get("/detect/stream?session=" + id)).untilEnd()
	var one shown
	s.object(s.get("/v1/sessions/"+id), http.StatusOK, &one)
	if one.End == nil || one.End.Outcome != wire.Done || one.Accounting.Inferred != 2 || one.Bytes != 2*piece {
		t.Errorf("session %+v", one)
	}
	s.problem(s.get("/v1/sessions/nobody"), http.StatusNotFound, wire.UnknownSession, "no session")
}

func TestCancelKeepsWhatWasFound(t *testing.T) {
	s := newHouse(t, options{})
	u := s.upload("/detect/video", "Prefer", "respond-async")
	id := accepted(u)
	s.events(s.get("/detect/stream?session="+id)).until("the second result", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 1 })
	var one shown
	s.object(s.do("POST", "/v1/sessions/"+id+"/cancel", nil), http.StatusOK, &one)
	if one.End == nil || one.End.Outcome != wire.Cancelled || one.Accounting.Inferred != 2 {
		t.Errorf("session %+v", one)
	}
	if got := s.text("/v1/sessions/" + id + "/results?format=ndjson"); strings.Count(got, `"type":"detections"`) != 2 {
		t.Errorf("results %s", got)
	}
}

func TestDeleteErases(t *testing.T) {
	s := newHouse(t, options{})
	id := accepted(s.upload("/detect/video", "Prefer", "respond-async"))
	if a := s.do("DELETE", "/v1/sessions/"+id, nil); a.StatusCode != http.StatusNoContent {
		t.Errorf("status %s", a.Status)
	}
	s.problem(s.get("/v1/sessions/"+id+"/results"), http.StatusNotFound, wire.UnknownSession, "no session")
	s.problem(s.do("DELETE", "/v1/sessions/"+id, nil), http.StatusNotFound, wire.UnknownSession, "no session")
	s.works()
}

func TestResultsInEveryFormat(t *testing.T) {
	s := newHouse(t, options{})
	a := s.do("POST", "/detect/video?threshold=0.1", bytes.NewReader(video(3)), "Accept", "application/x-ndjson")
	all, _ := s.lines(a)
	results := "/v1/sessions/" + all[0].Session + "/results"
	var object struct{ Events []message }
	s.object(s.get(results), http.StatusOK, &object)
	lines := strings.Split(strings.TrimSpace(s.text(results+"?format=ndjson")), "\n")
	if len(object.Events) != 5 || len(lines) != 5 { // configured, three results, end
		t.Errorf("%d events as JSON, %d lines", len(object.Events), len(lines))
	}
	rows, err := csv.NewReader(strings.NewReader(s.text(results + "?format=csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := 1
	for _, e := range object.Events {
		want += len(e.Detections)
	}
	if len(rows) != want || want == 1 || strings.Join(rows[0], ",") != "frame,pts_ms,class,label,confidence,x,y,width,height,track" {
		t.Errorf("%d rows, want %d: %v", len(rows), want, rows[0])
	}
	s.problem(s.get(results+"?format=xml"), http.StatusBadRequest, wire.BadMessage, "expected json, ndjson or csv")
}

func (s *house) text(path string) string {
	s.t.Helper()
	a := s.get(path)
	b, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %v", path, a.Status, err)
	}
	return string(b)
}

package web_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/wire"
)

func TestPicture(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	f, _ := w.CreateFormFile("file", "a.jpg")
	_, _ = f.Write(video(1))
	w.Close()
	kind := w.FormDataContentType()
	for name, a := range map[string]*http.Response{
		"raw": s.do("POST", "/detect", bytes.NewReader(video(1))), "form": s.do("POST", "/detect", &form, "Content-Type", kind),
		"filtered": s.do("POST", "/detect?labels=red,green&threshold=0.5&iou=0.3", bytes.NewReader(video(1))),
	} {
		var p wire.Picture
		s.object(a, http.StatusOK, &p)
		want := 1
		if name == "filtered" {
			want = 0 // the square is blue
		}
		if len(p.Detections) != want || p.Detections == nil || p.Width != 64 || p.Height != 64 || !strings.HasPrefix(p.Model, "squares@") || p.Timing.Total <= 0 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	s.works()
}

func TestPictureRefused(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{limits: hub.Limits{Picture: 3 * piece}})
	for _, c := range []struct {
		query, kind string
		body        []byte
		http        int
		code        wire.Code
		words       string
	}{
		{"", "", nil, 415, wire.UnsupportedMedia, "the body is empty"},
		{"", "", script("text"), 413, wire.TooLarge, "limit of 300 bytes"},
		{"", "", script("GIF"), 415, wire.UnsupportedMedia, "is not a video"},
		{"", "", script("x"), 422, wire.DecodeFailed, "before its first picture"},
		{"?threshold=2", "", video(1), 400, wire.BadMessage, "threshold: expected 0.01 to 1, got 2"},
		{"?threshold=NaN", "", video(1), 400, wire.BadMessage, "threshold: expected a number"},
		{"?labels=person", "", video(1), 400, wire.BadMessage, `no label "person"; GET /classes`},
		{"", "multipart/form-data", video(1), 400, wire.BadMessage, "multipart form cannot be read"},
		{"", "multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n--b--\r\n"), 400, wire.BadMessage, `send it as the part "file"`},
	} {
		s.problem(s.do("POST", "/detect"+c.query, bytes.NewReader(c.body), "Content-Type", c.kind), c.http, c.code, c.words)
	}
	s.works()
}

func TestEngineThatFails(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{engine: infertest.Config{Before: func(*infertest.Engine, int) error { return errors.New("out of order") }}})
	s.problem(s.do("POST", "/detect", bytes.NewReader(video(1))), 500, wire.Internal, "the engine failed on this picture")
	_, end := s.lines(s.do("POST", "/detect/video", bytes.NewReader(video(3)), "Accept", "application/x-ndjson"))
	if end.Outcome != wire.Done || end.Accounting.Failed["engine_error"] != 3 || end.Accounting.Inferred != 0 {
		t.Errorf("end: %+v", end)
	}
}

func TestHealthInEveryState(t *testing.T) {
	t.Parallel()
	report, fail := make(chan func(hub.Availability, float64)), make(chan error)
	s := newHouse(t, options{load: func(_ context.Context, r func(hub.Availability, float64)) (*infer.Batcher, error) {
		report <- r
		return nil, <-fail
	}})
	set := <-report
	check := func(want, reason string, percent any) {
		t.Helper()
		var h map[string]any
		s.object(s.get("/health"), http.StatusOK, &h)
		if h["status"] != "healthy" || h["aiAvailability"] != want || h["percent"] != percent || h["version"] != "test" || h["draining"] != false {
			t.Errorf("%s: %v", want, h)
		}
		var r struct {
			Ready   bool
			Reasons []string
		}
		s.object(s.get("/readyz"), http.StatusServiceUnavailable, &r)
		if r.Ready || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "aiAvailability is "+want) || !strings.Contains(r.Reasons[0], reason) {
			t.Errorf("%s: %+v", want, r)
		}
		s.object(s.get("/livez"), http.StatusOK, &h)
		s.problem(s.get("/classes"), 503, wire.EngineUnavailable, "no model is loaded yet")
	}
	check("None", "", nil)
	set(hub.Downloading, 12.5)
	check("DOWNLOADING", "", 12.5)
	set(hub.Converting, 0)
	check("CONVERTING", "", 0.0)
	waiting := s.upload("/detect/video")
	waiting.send(video(1))
	waiting.end()
	fail <- errors.New("no such library")
	if a := waiting.answer(); a.StatusCode == http.StatusOK { // it waited already, and was told so
		if end := s.events(a).untilEnd(); end.Code != wire.EngineUnavailable || end.Message != "no inference engine: no such library" {
			t.Errorf("end %+v", end)
		}
	} else {
		s.problem(a, 503, wire.EngineUnavailable, "no inference engine: no such library")
	}
	check("ERROR", "no such library", nil)
	s.problem(s.do("POST", "/detect", bytes.NewReader(video(1))), 503, wire.EngineUnavailable, "no such library")
}

func TestReady(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{limits: hub.Limits{Sessions: 1}})
	var h map[string]any
	s.object(s.get("/health"), http.StatusOK, &h)
	if h["aiAvailability"] != "ENABLED" || h["provider"] != "fake" || h["percent"] != nil || !strings.HasPrefix(h["model"].(string), "squares@") {
		t.Errorf("health %v", h)
	}
	var r struct {
		Ready   bool
		Reasons []string
	}
	s.object(s.get("/readyz"), http.StatusOK, &r)
	if !r.Ready || r.Reasons != nil {
		t.Errorf("ready %+v", r)
	}
	up := s.upload("/detect/video")
	up.send(video(1))
	up.answer()
	s.hub.BeginDrain()
	s.object(s.get("/readyz"), http.StatusServiceUnavailable, &r)
	if r.Ready || !slices.Equal(r.Reasons, []string{"the hub is shutting down", "1 sessions are running, which is the limit"}) {
		t.Errorf("ready %+v", r)
	}
	s.object(s.get("/health"), http.StatusOK, &h)
	if h["sessions"] != 1.0 || h["draining"] != true || h["status"] != "healthy" {
		t.Errorf("health %v", h)
	}
}

func TestClasses(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	var c struct {
		Model   string
		Classes []struct {
			ID   int
			Name string
		}
	}
	s.object(s.get("/classes"), http.StatusOK, &c)
	if len(c.Classes) != 3 || c.Classes[2].ID != 2 || c.Classes[2].Name != "red" || c.Model != infertest.Model().Ref() {
		t.Errorf("classes %+v", c)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	scrape := func(want ...string) {
		t.Helper()
		text, err := io.ReadAll(s.get("/metrics").Body)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		for _, w := range want {
			if !slices.Contains(lines, w) {
				t.Errorf("missing %s", w)
			}
		}
	}
	scrape(
		`detections_info{version="test"} 1`, `detections_frames_total{outcome="inferred",reason=""} 0`, `detections_frames_total{outcome="skipped",reason=""} 0`,
		`detections_frames_total{outcome="dropped",reason="superseded"} 0`, `detections_frames_total{outcome="dropped",reason="cancelled"} 0`,
		`detections_frames_total{outcome="failed",reason="engine_error"} 0`, `detections_frames_pending 0`,
		`detections_undecoded_total{reason="corrupt"} 0`, `detections_undecoded_total{reason="no_keyframe"} 0`,
		`detections_sessions{state="running"} 0`, `detections_sessions{state="lingering"} 0`, `detections_ai_availability{state="ENABLED"} 1`,
		`detections_ai_availability{state="ERROR"} 0`, `detections_draining 0`, `detections_ready_list 0`, `detections_engines{state="stuck"} 0`, `detections_engines{state="working"} 1`, `detections_capacity_images_per_second 0`, `detections_run_failures_total 0`,
		`detections_result_seconds_count{stage="total"} 0`, `detections_run_seconds_count 0`, `detections_batch_images_count 0`,
		`detections_sessions_ended_total{code="",outcome="done"} 0`, `detections_sessions_ended_total{code="internal",outcome="failed"} 0`,
		`detections_decoders{state="working"} 1`, `detections_decoders{state="waiting"} 2`,
		`detections_requests_total{door="POST /detect",status="5xx"} 0`, `detections_requests_total{door="GET /v1/session",status="4xx"} 0`, `detections_request_seconds_count{door="POST /detect"} 0`,
	)
	s.lines(s.do("POST", "/detect/video?every=2", bytes.NewReader(script("KpxpKpp")), "Accept", "application/x-ndjson"))
	s.do("POST", "/detect", bytes.NewReader(video(1)))
	scrape(
		`detections_frames_total{outcome="inferred",reason=""} 4`, `detections_frames_total{outcome="skipped",reason=""} 3`,
		`detections_undecoded_total{reason="corrupt"} 1`, `detections_frames_pending 0`, `detections_result_seconds_count{stage="total"} 4`,
		`detections_sessions_ended_total{code="",outcome="done"} 1`, `detections_requests_total{door="POST /detect/video",status="2xx"} 1`,
		`detections_requests_total{door="GET /metrics",status="2xx"} 1`, `detections_request_seconds_count{door="POST /detect"} 1`,
	)
	up := s.upload("/detect/video")
	up.send(video(1))
	up.answer()
	scrape(`detections_sessions{state="running"} 1`)
}

func TestNoSuchPath(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	s.problem(s.get("/nowhere"), 404, wire.BadMessage, "there is no GET /nowhere; GET / lists what there is")
	for request, allow := range map[string]string{
		"GET /detect": "POST", "DELETE /detect/video": "POST, PUT", "POST /health": "GET, HEAD", "POST /v1/session": "GET, HEAD", "POST /": "GET, HEAD",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := s.do(method, path, nil)
		if got := a.Header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", request, got, allow)
		}
		s.problem(a, 405, wire.BadMessage, path+" does not take "+method)
	}
	text, err := io.ReadAll(s.get("/").Body)
	if err != nil || !strings.Contains(string(text), "curl -T video.mp4 "+s.URL+"/detect/video") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestForeignPagesAreRefused(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{origins: []string{"https://good.example"}, hosts: []string{"Hub.example"}})
	for _, path := range []string{"/detect", "/detect/video"} {
		for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}} {
			s.problem(s.do("POST", path, bytes.NewReader(video(1)), headers...), 403, wire.Forbidden, "may not use this hub; add the origin with --allowed-origin")
		}
	}
	for _, headers := range [][]string{{"Origin", s.URL}, {"Origin", "https://good.example"}, {"Host", "hub.example"}, {"Host", "localhost:99"}, {"Host", "[::1]:80"}} {
		var p wire.Picture
		s.object(s.do("POST", "/detect", bytes.NewReader(video(1)), headers...), http.StatusOK, &p)
	}
	for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example:80"} {
		s.problem(s.get("/health", "Host", host), 403, wire.Forbidden, "add the name with --allowed-host")
	}
	s.works()
}

func TestForeignPagesAreNotUpgraded(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{origins: []string{"https://good.example"}})
	dial := func(o websocket.DialOptions) (*websocket.Conn, *http.Response) {
		t.Helper()
		o.Subprotocols = []string{wire.Subprotocol}
		c, a, err := websocket.Dial(t.Context(), s.URL+"/v1/session", &o)
		if (err == nil) != (a.StatusCode == http.StatusSwitchingProtocols) {
			t.Fatal(err)
		}
		return c, a
	}
	for _, o := range []websocket.DialOptions{
		{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}}, {HTTPHeader: http.Header{"Sec-Fetch-Site": {"cross-site"}}}, {Host: "evil.example"},
	} {
		_, a := dial(o)
		s.problem(a, 403, wire.Forbidden, "add the")
	}
	for _, o := range []websocket.DialOptions{{}, {HTTPHeader: http.Header{"Origin": {s.URL}}}, {HTTPHeader: http.Header{"Origin": {"https://good.example"}}}} {
		c, _ := dial(o)
		if c == nil {
			t.Fatalf("refused %+v", o)
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"type":"start"}`)); err != nil {
			t.Error(err)
		}
		if _, text, err := c.Read(t.Context()); err != nil || !bytes.Contains(text, []byte(`"started"`)) {
			t.Errorf("%s, %v", text, err)
		}
		_ = c.CloseNow()
	}
	a := s.get("/v1/session")
	s.problem(a, 400, wire.BadMessage, "this is a WebSocket endpoint")
}

func TestBrowsersGetThePageAndOthersAList(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for accept, want := range map[string]string{"text/html,*/*": "<!doctype html>", "*/*": "detections test"} {
		a := s.get("/", "Accept", accept)
		text, err := io.ReadAll(a.Body)
		if err != nil || a.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), want) || a.Header.Get("Vary") != "Accept" {
			t.Errorf("%s: %s %v %.60s", accept, a.Status, err, text)
		}
	}
	if a := s.get("/page/app.js"); a.StatusCode != http.StatusOK || a.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("the page's module: %s", a.Status)
	}
}

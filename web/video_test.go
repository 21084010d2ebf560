package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/hub"
	"detections/session/wire"
)

// upload is a request whose body is sent piece by piece.
type upload struct {
	*house
	body    *io.PipeWriter
	cancel  context.CancelFunc
	answers chan *http.Response
}

func (s *house) upload(path string, headers ...string) *upload {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, "POST", s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	u := &upload{s, w, cancel, make(chan *http.Response, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a, err := s.Client().Do(r)
		if err != nil {
			s.t.Errorf("POST %s: %v", path, err)
		}
		u.answers <- a
	}()
	s.t.Cleanup(func() { cancel(); w.Close(); <-done })
	return u
}

func (u *upload) send(p []byte) {
	u.t.Helper()
	if _, err := u.body.Write(p); err != nil {
		u.t.Fatal(err)
	}
}

func (u *upload) end() { u.body.Close() }

func (u *upload) answer() *http.Response {
	u.t.Helper()
	a := <-u.answers
	if a == nil {
		u.t.FailNow()
	}
	u.t.Cleanup(func() { a.Body.Close() })
	return a
}

func TestEventsComeBeforeTheBodyEnds(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	up := s.upload("/detect/video")
	up.send(video(10))
	in := s.events(up.answer())
	started := in.until("started", func(m message) bool { return m.Type == wire.TypeStarted })
	half := in.until("frame 9", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 9 })
	up.send(video(10))
	up.end()
	end := in.untilEnd()
	if started.id != "" || half.id != started.Epoch+":11" || end.id != started.Epoch+":22" || end.Offset != 22 {
		t.Errorf("ids %q %q %q with epoch %s", started.id, half.id, end.id, started.Epoch)
	}
	if a := end.Accounting; end.Outcome != wire.Done || a.Inferred != 20 || a.Decoded != 20 || end.Bytes != 20*piece {
		t.Errorf("end: %s", end.data)
	}
	s.works()
}

func TestLinesByAccept(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for accept, want := range map[string]string{
		"": "text/event-stream", "*/*": "text/event-stream", "text/event-stream, application/x-ndjson": "text/event-stream",
		"application/x-ndjson": "application/x-ndjson", "application/ndjson": "application/x-ndjson",
	} {
		a := s.do("POST", "/detect/video", bytes.NewReader(video(1)), "Accept", accept)
		if got := a.Header.Get("Content-Type"); got != want {
			t.Errorf("Accept %q: %s", accept, got)
		}
		if want == "application/x-ndjson" {
			s.lines(a)
		}
	}
}

func TestBodiesOfEveryKind(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	_ = w.WriteField("note", "not the file")
	f, _ := w.CreateFormFile("file", "a.mp4")
	_, _ = f.Write(video(6))
	w.Close()
	for name, send := range map[string]func() *http.Response{
		"length":  func() *http.Response { return s.do("POST", "/detect/video", bytes.NewReader(video(6))) },
		"chunked": func() *http.Response { return s.do("POST", "/detect/video", io.MultiReader(bytes.NewReader(video(6)))) },
		"put":     func() *http.Response { return s.do("PUT", "/detect/video", bytes.NewReader(video(6))) },
		"multipart": func() *http.Response {
			return s.do("POST", "/detect/video", &form, "Content-Type", w.FormDataContentType())
		},
	} {
		if end := s.events(send()).untilEnd(); end.Outcome != wire.Done || end.Accounting.Inferred != 6 {
			t.Errorf("%s: %s", name, end.data)
		}
	}
}

func TestSamplingByQuery(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for query, want := range map[string]int64{"all": 50, "all=true": 50, "every=10": 5, "fps=5": 10, "all=0&every=25": 2, "": 50} {
		_, end := s.lines(s.do("POST", "/detect/video?"+query, bytes.NewReader(video(50)), "Accept", "application/x-ndjson"))
		if a := end.Accounting; a.Inferred != want || a.Skipped != 50-want || a.Decoded != 50 {
			t.Errorf("?%s: %+v, want %d", query, a, want)
		}
	}
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for query, words := range map[string]string{
		"threshold=high":                  `threshold: expected a number, got "high"`,
		"threshold=0":                     "detect.threshold: expected 0.01 to 1, got 0",
		"threshold=NaN":                   "threshold: expected a number",
		"iou=NaN":                         "iou: expected a number",
		"iou=1.5":                         "detect.iou: expected 0 to 1, got 1.5",
		"labels=unicorn":                  `no label "unicorn"; GET /classes lists its 3 labels`,
		"fps=-1":                          "fps must be above 0",
		"fps=Inf":                         "fps: expected a number",
		"every=1.5":                       `every: expected a whole number, got "1.5"`,
		"every=1e30":                      "every",
		"every=2&fps=3":                   "either fps or every",
		"all&every=2":                     "give one of fps, every, all",
		"all=perhaps":                     `all: expected true or false, got "perhaps"`,
		"mode=slow":                       `mode: expected "file" or "live", got "slow"`,
		"results=best":                    `results: expected "all" or "nonempty", got "best"`,
		"track=red":                       `track: expected true or false, got "red"`,
		"sha256=12":                       "64 hex digits",
		"key=" + strings.Repeat("k", 200): "key: at most 128 bytes",
	} {
		s.problem(s.do("POST", "/detect/video?"+query, bytes.NewReader(video(1))), 400, wire.BadMessage, words)
	}
	s.works()
}

func TestBodyCutShort(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{limits: hub.Limits{Linger: 100 * time.Millisecond}})
	up := s.upload("/detect/video")
	up.send(video(4))
	in := s.events(up.answer())
	id := in.until("started", func(m message) bool { return m.Type == wire.TypeStarted }).Session
	in.until("frame 3", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 3 })
	watcher := s.events(s.get("/detect/stream?session=" + id))
	up.cancel()
	end := watcher.untilEnd()
	if end.Outcome != wire.Failed || end.Code != wire.UploadIncomplete || end.Accounting.Inferred != 4 || !strings.Contains(end.Message, "after 400 bytes and nobody resumed") {
		t.Errorf("end: %s", end.data)
	}
	again := s.events(s.get("/detect/stream?session=" + id))
	if again.untilEnd(); len(again.log) != 6 {
		t.Errorf("%d events are kept", len(again.log))
	}
	s.works()
}

func TestBodyCutShortIsResumedOverAWebSocket(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	up := s.upload("/detect/video")
	up.send(video(4))
	in := s.events(up.answer())
	started := in.until("started", func(m message) bool { return m.Type == wire.TypeStarted })
	in.until("frame 3", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 3 })
	up.cancel()
	c, _, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	say := func(kind websocket.MessageType, p []byte) {
		t.Helper()
		if err := c.Write(t.Context(), kind, p); err != nil {
			t.Fatal(err)
		}
	}
	say(websocket.MessageText, wire.EncodeClient(&wire.Resume{Session: started.Session, Token: started.Token, Epoch: started.Epoch}))
	say(websocket.MessageBinary, video(3))
	say(websocket.MessageText, []byte(`{"type":"eof"}`))
	for {
		_, text, err := c.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var m message
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if m.Type == wire.TypeEnd {
			if m.Outcome != wire.Done || m.Accounting.Inferred != 7 {
				t.Errorf("end: %s", text)
			}
			return
		}
	}
}

func TestMediaThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for _, c := range []struct {
		body  []byte
		http  int
		code  wire.Code
		words string
	}{
		{nil, 415, wire.UnsupportedMedia, "the media is empty"},
		{script("text"), 415, wire.UnsupportedMedia, "is not a video"},
		{script("xxx"), 422, wire.DecodeFailed, "before its first picture"},
		{script("!"), 415, wire.UnsupportedMedia, "is not a video"},
		{script("x!"), 422, wire.DecodeFailed, "killed"},
		{script("x#"), 422, wire.DecodeStalled, "no progress"},
	} {
		name := fmt.Sprintf("%.3q", c.body)
		a := s.do("POST", "/detect/video", bytes.NewReader(c.body))
		if a.StatusCode == 200 { // it was recognised before it failed
			if end := s.events(a).untilEnd(); end.Code != c.code || !strings.Contains(end.Message, c.words) {
				t.Errorf("%s: %s", name, end.data)
			}
			continue
		}
		s.problem(a, c.http, c.code, c.words)
	}
	s.works()
}

func TestRefusedWhileTheBodyIsStillSent(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{limits: hub.Limits{Bytes: 20 * piece}})
	up := s.upload("/detect/video")
	up.send(script("tttt")) // and the body does not end
	s.problem(up.answer(), 415, wire.UnsupportedMedia, "is not a video")

	dying := s.upload("/detect/video")
	dying.send(script("KK!"))
	if end := s.events(dying.answer()).untilEnd(); end.Code != wire.DecodeFailed || end.Accounting.Inferred != 2 {
		t.Errorf("end: %s", end.data)
	}
	large := s.upload("/detect/video")
	large.send(video(10))
	in := s.events(large.answer())
	large.send(video(11))
	if end := in.untilEnd(); end.Outcome != wire.Failed || end.Code != wire.TooLarge || end.Accounting.Inferred != 10 {
		t.Errorf("end: %s", end.data)
	}
	s.works()
}

func TestOneConnectionServesManyRequests(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for n := range 20 {
		a, err := client.Post(s.URL+"/detect/video", "video/mp4", bytes.NewReader(video(2)))
		if err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
		text, err := io.ReadAll(a.Body)
		if a.Body.Close(); err != nil || !bytes.Contains(text, []byte(`"outcome":"done"`)) {
			t.Fatalf("request %d: %s %v: %s", n, a.Status, err, text)
		}
	}
}

func TestUploadsAtTheLimit(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{limits: hub.Limits{Sessions: 1}})
	up := s.upload("/detect/video")
	up.send(video(1))
	in := s.events(up.answer())
	s.problem(s.do("POST", "/detect/video", bytes.NewReader(video(1))), 503, wire.Overloaded, "the limit of running sessions, 1, is reached")
	up.end()
	in.untilEnd()
	s.hub.Drain(t.Context())
	s.problem(s.do("POST", "/detect/video", bytes.NewReader(video(1))), 503, wire.Draining, "shutting down")
	if err := s.hub.Close(); err != nil {
		t.Fatal(err)
	}
	s.problem(s.do("POST", "/detect", bytes.NewReader(video(1))), 503, wire.Draining, "shutting down")
}

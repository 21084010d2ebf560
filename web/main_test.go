package web_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub"
	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
	"detections/web"
	"detections/web/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// piece is how many bytes of the scripted media are one access unit.
const piece = 100

// video is scripted media of n pictures.
func video(n int) []byte { return script(strings.Repeat("K", n)) }

// script is scripted media of these units; see sessiontest.
func script(units string) []byte {
	b := bytes.Repeat([]byte{'.'}, len(units)*piece)
	for i := range len(units) {
		b[i*piece] = units[i]
	}
	return b
}

// house is the HTTP face with everything real behind it but decoding and inference.
type house struct {
	*httptest.Server
	t    *testing.T
	hub  *hub.Hub
	face *web.Server
}

type options struct {
	limits         hub.Limits
	engine         infertest.Config
	hosts, origins []string
	load           hub.Load // nil: an engine is ready at once
	outbox         web.Outbox
	models         web.Models
	service        *outboxtest.Service // nil: there is no Annotations service
	auth           *auth.Authenticator // nil: off
	logger         *slog.Logger
	web            web.Limits
	header         time.Duration // for the header of a request; default a minute
}

func newHouse(t *testing.T, o options) *house {
	t.Helper()
	metrics := web.NewMetrics("test")
	metrics.WatchDecoders(func() (working, waiting int) { return 1, 2 })
	loading := context.WithoutCancel(t.Context())
	load := o.load
	if load == nil {
		load = func(context.Context, func(hub.Availability, float64)) (*infer.Batcher, error) {
			return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(o.engine)}, OnRun: metrics.ObserveRun})
		}
	}
	ai := hub.NewAI(load, nil)
	loaded := make(chan struct{})
	go func() { defer close(loaded); ai.Run(loading) }()
	if o.load == nil {
		<-loaded
	}
	var deliveries *outbox.Config
	if o.service != nil {
		url, client := outboxtest.Connect(t, o.service)
		a, err := outbox.NewAnnotations(outbox.ServiceConfig{URL: url, HTTP: client})
		if err != nil {
			t.Fatal(err)
		}
		deliveries = &outbox.Config{Service: a}
	}
	h, err := hub.New(hub.Config{
		Dir: t.TempDir(), AI: ai, Limits: o.limits, Outbox: deliveries,
		Decoders: &sessiontest.Decoders{Config: sessiontest.Config{Unit: piece}}, OnResult: metrics.ObserveResult, Logger: o.logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	metrics.Watch(h)
	if o.outbox != nil {
		metrics.WatchOutbox(o.outbox)
	}
	face, err := web.New(web.Config{Hub: h, Hosts: o.hosts, Origins: o.origins, Metrics: metrics, Outbox: o.outbox, Models: o.models, Version: "test", Auth: o.auth, Logger: o.logger, Limits: o.web})
	if err != nil {
		t.Fatal(err)
	}
	s := &house{httptest.NewUnstartedServer(face), t, h, face}
	s.Config.ReadHeaderTimeout, s.Config.MaxHeaderBytes = cmp.Or(o.header, time.Minute), 16<<10
	s.Listener = face.Gate(s.Listener)
	s.Start()
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.CloseClientConnections()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
		face.Wait()
		<-loaded
		if err := ai.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// do sends a request; headers come in pairs.
func (s *house) do(method, path string, body io.Reader, headers ...string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	if h := r.Header.Get("Host"); h != "" {
		r.Host = h
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	s.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func (s *house) get(path string, headers ...string) *http.Response {
	s.t.Helper()
	return s.do("GET", path, nil, headers...)
}

// object reads a JSON answer, and checks its status and type.
func (s *house) object(a *http.Response, status int, into any) {
	s.t.Helper()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != status || a.Header.Get("Content-Type") != "application/json" || json.Unmarshal(text, into) != nil {
		s.t.Fatalf("%s: %s %s %v, want %d", a.Request.URL.Path, a.Status, text, err, status)
	}
}

type problem struct {
	Type, Title, Detail string
	Status              int
	Code                wire.Code
}

// problem checks that an answer is a problem with this code and these words.
func (s *house) problem(a *http.Response, status int, code wire.Code, words string) {
	s.t.Helper()
	text, err := io.ReadAll(a.Body)
	var p problem
	if err != nil || a.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(text, &p) != nil {
		s.t.Fatalf("%s %s: %s %q %s %v", a.Request.Method, a.Request.URL, a.Status, a.Header.Get("Content-Type"), text, err)
	}
	if a.StatusCode != status || p.Status != status || p.Code != code || p.Title == "" || p.Type == "" || !strings.Contains(p.Detail, words) {
		s.t.Errorf("%s %s: %d %s, want %d %s %q", a.Request.Method, a.Request.URL, a.StatusCode, text, status, code, words)
	}
	if wait := a.Header.Get("Retry-After"); (wait != "") != (status == 503 || status == 429) {
		s.t.Errorf("%s: Retry-After %q with status %d", a.Request.URL, wait, status)
	}
}

// works does a small session and a picture: the hub is unharmed.
func (s *house) works() {
	s.t.Helper()
	if _, end := s.lines(s.do("POST", "/detect/video", bytes.NewReader(video(3)), "Accept", "application/x-ndjson")); end.Outcome != wire.Done || end.Accounting.Inferred != 3 {
		s.t.Errorf("the next session: %+v", end)
	}
	var p wire.Picture
	s.object(s.do("POST", "/detect", bytes.NewReader(video(1))), http.StatusOK, &p)
	if len(p.Detections) != 1 {
		s.t.Errorf("the next picture: %+v", p)
	}
}

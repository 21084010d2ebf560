package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"detections/infer/loader/loadertest"
	"detections/session/wire"
)

// oldService is what the service before this one needed around it, and a hub in its place.
type oldService struct {
	t           *testing.T
	loader      *loadertest.Service
	annotations *annotations
	dir         string
	args        []string
	hub         *process
	session     string // of a video that was detected
}

// TestE2EOldService: what was known of the service before this one holds here, or has ended
// for a better. A row of docs/old-service.md each, in its order; those about
// deployments are in TestDeployOldService.
func TestE2EOldService(t *testing.T) {
	o := &oldService{t: t, loader: &loadertest.Service{}, annotations: newAnnotations(t), dir: t.TempDir()}
	o.loader.Put("cats", catsModel(t, 1))
	at := httptest.NewServer(o.loader)
	defer at.Close()
	classes := filepath.Join(t.TempDir(), "classes.json")
	write(t, classes, `[{"id": 0, "name": "cat", "color": "#ff8800"}, {"id": 1, "name": "dog"}]`)
	o.args = []string{"--engine-init", "lazy", "--loader-url", at.URL, "--model", "cats", "--classes", classes, "--annotations-url", o.annotations.url}
	o.hub = onSamePlace(t, "127.0.0.1:0", o.dir, o.args...)
	for _, row := range []struct {
		name  string
		check func(*oldService, *testing.T)
	}{
		{"health and lazy initialisation", (*oldService).health},
		{"liveness and readiness probes", (*oldService).probes},
		{"true streaming", (*oldService).streams},
		{"media hash", (*oldService).hash},
		{"stream of events", (*oldService).events},
		{"persistence by the Annotations service", (*oldService).delivers},
		{"model in the Loader", (*oldService).loads},
		{"classes.json", (*oldService).names},
		{"state in memory", (*oldService).remembers},
		{"no graceful shutdown", (*oldService).suspends},
	} {
		if !t.Run(row.name, func(t *testing.T) { row.check(o, t) }) {
			return // the rows build on each other
		}
	}
}

// health: 200 at once with the old keys, None until somebody asks for a detection, and then
// through the stages to ENABLED.
func (o *oldService) health(t *testing.T) {
	stages := []string{"None", "DOWNLOADING", "CONVERTING", "ENABLED"}
	var seen []string
	look := func() string {
		var h struct{ Status, AIAvailability string }
		o.json(t, "/health", &h)
		if h.Status != "healthy" || !slices.Contains(stages, h.AIAvailability) {
			t.Fatalf("%+v", h)
		}
		if len(seen) == 0 || seen[len(seen)-1] != h.AIAvailability {
			seen = append(seen, h.AIAvailability)
		}
		return h.AIAvailability
	}
	if look() != "None" {
		t.Errorf("before the first request: %v", seen)
	}
	answered := make(chan []answer, 1)
	go func() { answered <- o.hub.curl("-F", "file=@"+media(t, "frame.jpg"), o.hub.url+"/detect") }()
	for look() != "ENABLED" {
		time.Sleep(time.Millisecond)
	}
	if all := <-answered; len(all) != 1 || !bytes.Contains(all[0].Detections, []byte("cat")) {
		t.Errorf("the first request was answered %+v", all)
	}
	if !slices.IsSortedFunc(seen, func(a, b string) int { return slices.Index(stages, a) - slices.Index(stages, b) }) {
		t.Errorf("stages %v", seen)
	}
}

// probes: the old ones, and the new ones.
func (o *oldService) probes(t *testing.T) {
	for _, path := range []string{"/health", "/livez", "/readyz"} {
		a, err := http.Get(o.hub.url + path)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, a.Status)
		}
	}
}

// streams: results come while the upload goes on.
func (o *oldService) streams(t *testing.T) {
	whole := read(t, "people.ts")
	s := o.hub.upload("every=10", whole[:len(whole)/2])
	o.session = s.untilType("started").Session
	s.untilType("detections")
	if end := s.rest(whole[len(whole)/2:]); end.Outcome != "done" || end.Accounting.Inferred != 10 {
		t.Errorf("end %+v", end)
	}
}

// hash: of what passed, known without another look at it; known media has its results.
func (o *oldService) hash(t *testing.T) {
	sum := sha256.Sum256(read(t, "people.ts"))
	all := o.hub.curl("-H", "Accept: application/x-ndjson", o.hub.url+"/detect/stream?media="+hex.EncodeToString(sum[:]))
	if all[0].Session != o.session || all[len(all)-1].Type != "end" {
		t.Errorf("%d events, the first is %+v", len(all), all[0])
	}
}

// events: GET /detect/stream, from where the reader was.
func (o *oldService) events(t *testing.T) {
	var all []answer
	for last := ""; ; {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.hub.url+"/detect/stream?session="+o.session, nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if kind := a.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") {
			t.Fatalf("content type %q", kind)
		}
		m := firstNumbered(t, a)
		a.Body.Close()
		cancel()
		all = append(all, m)
		if m.Offset != uint64(len(all)) {
			t.Fatalf("event %d came as number %d", m.Offset, len(all))
		}
		if m.Type == "end" {
			break
		}
		last = fmt.Sprintf("%s:%d", o.epoch(t), m.Offset)
	}
	if len(all) != 12 { // configured, ten results, the end
		t.Errorf("%d events", len(all))
	}
}

// firstNumbered is the first event of the timeline in a stream.
func firstNumbered(t *testing.T, a *http.Response) answer {
	t.Helper()
	for d, b := []byte(nil), make([]byte, 64<<10); ; {
		n, err := a.Body.Read(b)
		d = append(d, b[:n]...)
		for line := range bytes.Lines(d) {
			var m answer
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok && json.Unmarshal(data, &m) == nil && m.Type != "started" && m.Offset > 0 {
				return m
			}
		}
		if err != nil {
			t.Fatalf("%v after %s", err, d)
		}
	}
}

// epoch is that of the session's numbering.
func (o *oldService) epoch(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(string(o.get(t, "/detect/stream?session="+o.session))) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			epoch, _, _ := strings.Cut(id, ":")
			return epoch
		}
	}
	t.Fatal("events have no ids")
	return ""
}

// delivers: every detection is in the Annotations service, once.
func (o *oldService) delivers(t *testing.T) {
	o.annotations.awaitStored(o.session, 11)
	o.annotations.once(o.hub, o.session)
}

// loads: the model is the Loader's.
func (o *oldService) loads(t *testing.T) {
	if h := o.hub.model("GET", "/health", ""); h.Model != "cats@1" || len(o.loader.Requests()) == 0 {
		t.Errorf("%+v after %d requests", h, len(o.loader.Requests()))
	}
	for _, v := range o.loader.Violations() {
		t.Error(v)
	}
}

// names: those of classes.json on this machine.
func (o *oldService) names(t *testing.T) {
	var c struct {
		Classes []struct{ Name, Color string }
	}
	o.json(t, "/classes", &c)
	if len(c.Classes) != 2 || c.Classes[0].Name != "cat" || c.Classes[0].Color != "#ff8800" {
		t.Errorf("%+v", c)
	}
}

// remembers: what was in memory is on the disk, and outlives kill -9.
func (o *oldService) remembers(t *testing.T) {
	before := o.get(t, "/v1/sessions/"+o.session+"/results?format=ndjson")
	o.hub.signal(syscall.SIGKILL)
	<-o.hub.done
	o.hub = onSamePlace(o.t, strings.TrimPrefix(o.hub.url, "http://"), o.dir, o.args...)
	if after := o.get(t, "/v1/sessions/"+o.session+"/results?format=ndjson"); !bytes.Equal(before, after) {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// suspends: a stop in the middle of an upload interrupts it, and nothing is lost.
func (o *oldService) suspends(t *testing.T) {
	j := job{"people.ts", wire.Start{Sample: &wire.Sample{Every: 10}}}
	l := &load{t: t, url: o.hub.url, media: map[string][]byte{j.file: read(t, j.file)}}
	want, err := l.run(j, rand.Text(), 0)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	l.golden = map[string]outcome{j.file: want}
	l.began = func(string, outcome) { close(begun) }
	done := make(chan outcome, 1)
	go func() {
		got, err := l.run(j, rand.Text(), len(l.media[j.file])/2)
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	select {
	case <-begun:
	case <-done:
		t.Fatal("it ended before it began")
	}
	o.hub.signal(syscall.SIGTERM)
	if code := o.hub.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	o.hub = onSamePlace(o.t, strings.TrimPrefix(o.hub.url, "http://"), o.dir, o.args...)
	if got := <-done; got.end != want.end || !slices.Equal(got.results, want.results) || l.resumed.Load() == 0 {
		t.Errorf("it came back %d times; %s, want %s; %s", l.resumed.Load(), got.end, want.end, firstDifference(got.results, want.results))
	}
}

func (o *oldService) get(t *testing.T, path string) []byte {
	t.Helper()
	a, err := http.Get(o.hub.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(a.Body); err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, a.Status, err, b.Bytes())
	}
	return b.Bytes()
}

func (o *oldService) json(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal(o.get(t, path), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

package main_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"detections/hub/outbox/outboxtest"
)

// annotations is an Annotations service that fails as it is told to.
type annotations struct {
	outboxtest.Service
	t        *testing.T
	url      string
	fault    atomic.Int32
	refusing atomic.Bool // of every event with offset 3
}

func newAnnotations(t *testing.T) *annotations {
	t.Helper()
	a := &annotations{t: t}
	a.Fault = func(int) outboxtest.Fault { return outboxtest.Fault(a.fault.Load()) }
	a.Refuse = func(e outboxtest.Event) int {
		if a.refusing.Load() && e.Offset == 3 {
			return 422
		}
		return 0
	}
	server := httptest.NewServer(&a.Service)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// awaitStored waits until so many events of a session are stored.
func (a *annotations) awaitStored(session string, n int) []outboxtest.Event {
	a.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		got := a.Events(session)
		if len(got) >= n {
			return got
		}
		if time.Since(begun) > patience {
			a.t.Fatalf("%d of %d events are stored", len(got), n)
		}
	}
}

// once checks that a session's events are stored under one key each, and are what the
// hub tells.
func (a *annotations) once(p *process, session string) {
	a.t.Helper()
	told := map[string]bool{}
	for _, line := range p.curl(p.url + "/v1/sessions/" + session + "/results?format=ndjson") {
		if line.Type == "end" || line.Type == "detections" && string(line.Detections) != "[]" {
			told[fmt.Sprintf("%s %d", line.Type, line.Frame)] = true
		}
	}
	for _, e := range a.Events(session) {
		var m answer
		if err := json.Unmarshal([]byte(e.Body), &m); err != nil {
			a.t.Fatal(err)
		}
		name := fmt.Sprintf("%s %d", m.Type, m.Frame)
		if !told[name] {
			a.t.Errorf("stored twice, or told by nobody: %s", e.Body)
		}
		delete(told, name)
	}
	if len(told) > 0 {
		a.t.Errorf("not stored: %v", told)
	}
	for _, v := range a.Violations() {
		a.t.Error("violation: ", v)
	}
}

func TestE2EEveryEventIsStoredOnceByTheAnnotationsService(t *testing.T) {
	a := newAnnotations(t)
	a.fault.Store(int32(outboxtest.Reset)) // it is down
	a.refusing.Store(true)
	dir := t.TempDir()
	p := onSamePlace(t, "127.0.0.1:0", dir, "--annotations-url", a.url)
	p.await("engine ready")
	all := p.file("people.mp4", "every=10")
	id := all[0].Session
	p.await("delivery failed")
	a.fault.Store(int32(outboxtest.StoreHang)) // it stores, and does not say so
	a.awaitStored(id, 10)
	p.signal(syscall.SIGKILL)
	<-p.done
	a.fault.Store(int32(outboxtest.None))
	p = onSamePlace(t, "127.0.0.1:0", dir, "--annotations-url", a.url)
	p.await("the Annotations service refused an event; it is parked")

	s := cli(t, "outbox", "list", "--hub", p.url)
	s.check(t, "list", 0, a.url+": breaker closed", "1 of at most 1000 dead letters", id+":", "not welcome")
	s = cli(t, "outbox", "retry", "--hub", p.url, "--all")
	s.check(t, "retry of what is still refused", 1, "0 delivered, 1 refused again")
	a.refusing.Store(false)
	s = cli(t, "outbox", "retry", "--hub", p.url, "--all")
	s.check(t, "retry", 0, "1 delivered, 0 refused again")
	a.awaitStored(id, 11)
	a.once(p, id)

	a.refusing.Store(true)
	second := p.file("people.mp4", "every=25")[0].Session
	a.awaitStored(second, 4) // four frames and the end, but the second frame
	key := strings.TrimSuffix(a.Events(second)[0].Key, "2") + "3"
	for begun := time.Now(); !strings.Contains(cli(t, "outbox", "list", "--hub", p.url).out, key); {
		if time.Since(begun) > patience {
			t.Fatalf("%s is not parked", key)
		}
	}
	s = cli(t, "outbox", "drop", "--hub", p.url, key)
	s.check(t, "drop", 0, "1 dropped")
	s = cli(t, "outbox", "drop", "--hub", p.url, key)
	s.check(t, "drop of what is gone", 1, "no dead letter with the key "+key)
}

func TestE2EMediaIsFetchedAcrossAKill(t *testing.T) {
	a := newAnnotations(t)
	whole := read(t, "people.mp4")
	a.PutMedia("m 1/a", outboxtest.Media{Name: "people.mp4", ETag: `"v1"`, Body: whole})
	var broken atomic.Bool
	broken.Store(true)
	a.Cut = func(n int) int {
		if broken.Load() {
			return len(whole) / 3
		}
		return -1
	}
	dir := t.TempDir()
	p := onSamePlace(t, "127.0.0.1:0", dir, "--annotations-url", a.url)
	p.await("engine ready")
	started := p.curl("-X", "POST", p.url+"/detect/m%201%2Fa?every=10")
	if len(started) != 1 || started[0].Type != "started" {
		t.Fatalf("answer %+v", started)
	}
	id := started[0].Session
	if again := p.curl("-X", "POST", p.url+"/detect/m%201%2Fa"); again[0].Status != 409 || again[0].Code != "conflict" {
		t.Errorf("at the same time: %+v", again)
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	broken.Store(false)
	p = onSamePlace(t, "127.0.0.1:0", dir, "--annotations-url", a.url)
	all := p.curl("-H", "Accept: application/x-ndjson", p.url+"/detect/stream?media=m%201%2Fa")
	if end := all[len(all)-1]; end.Type != "end" || end.Outcome != "done" || end.Bytes != int64(len(whole)) || end.Accounting.Inferred != 10 {
		t.Errorf("end %+v", end)
	}
	for _, e := range a.awaitStored(id, 11) {
		if e.MediaID != "m 1/a" {
			t.Errorf("stored with the media %q", e.MediaID)
		}
	}
	a.once(p, id)
}

func TestE2EDetectKnownSendsNothing(t *testing.T) {
	p := serve(t)
	args := []string{"detect", "--hub", p.url, "--every", "10", "--known", media(t, "people.mp4")}
	s := cli(t, args...)
	s.check(t, "new", 0, "10 of 100 frames in ")
	s = cli(t, args...)
	s.check(t, "known", 0, "10 of 100 frames, known to the hub")
}

//go:build deploy

package main_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// steps is how long the steps of a deployment took, by its report.
func (s said) steps() map[string]string {
	all := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^deploy\.sh: (\w+) +(ok|failed) +([0-9.]+ s)$`).FindAllStringSubmatch(s.err, -1) {
		if _, before := all[m[1]]; !before { // the second verify is that of the rollback
			all[m[1]] = m[3]
		}
	}
	return all
}

// TestDeployOfABrokenVersion: the version before never stops serving, unless the new one
// breaks only once it has taken over; then it comes back.
func TestDeployOfABrokenVersion(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	health := newProbe(h.url)
	for tag, c := range map[string]struct {
		line, says string
		status     int
	}{
		"crashes":      {"ENV DETECTIONS_LOG_LEVEL=loud", "does not serve", 1},
		"never-ready":  {"ENV DETECTIONS_ORT_LIBRARY=/nowhere.so", "not ready within", 1},
		"no-program":   {`ENTRYPOINT ["/nothing"]`, "does not run", 4},
		"refuses-work": {"ENV DETECTIONS_MAX_PICTURE=1", "a detection                  FAILED", 1},
	} {
		h.release(tag, c.line)
		begun := time.Now()
		h.script("deploy.sh", tag).check(t, tag, c.status, c.says)
		t.Logf("%s: found out after %v, never in place", tag, time.Since(begun).Round(100*time.Millisecond))
		if h.runs() != "v1" {
			t.Fatalf("%s: %q runs", tag, h.runs())
		}
	}
	health.end(t)
	t.Log(health)
}

// TestDeployOfAVersionThatBreaksLater: one that is good while it is tried, and breaks once it
// has taken over, is rolled back by itself, and nobody is refused meanwhile.
func TestDeployOfAVersionThatBreaksLater(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.releaseNext("next")
	h.configure("OBSERVE=60", "MAX_MEMORY=600")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	for fault, c := range map[string]struct{ step, says string }{
		"answers-500":       {"verify", "the checks after the deployment failed"},
		"answers-500-later": {"observe", "health checks in a row have failed: a detection is answered with 500"},
		"slow":              {"observe", "health checks in a row have failed: a detection takes"},
		"leaks":             {"observe", "MB of memory; at most 600 are expected"},
		"fails-some":        {"observe", "% of requests and sessions fail"},
	} {
		h.releaseFrom("next", fault, "ENV FAULT="+fault)
		stop, traffic := make(chan struct{}), sync.WaitGroup{}
		traffic.Go(func() { ask(h.url+"/classes", stop) })
		health, begun := newProbe(h.url), time.Now()
		s := h.script("deploy.sh", fault)
		took := time.Since(begun)
		health.end(t)
		close(stop)
		traffic.Wait()
		s.check(t, fault, 5, c.says, "rolled back to v1")
		steps := s.steps()
		t.Logf("%s: found out %s into %s, restored in %s, all in all %v; %v", fault, steps[c.step], c.step, steps["rollback"], took.Round(100*time.Millisecond), health)
		if h.runs() != "v1" {
			t.Fatalf("%s: %q runs", fault, h.runs())
		}
		for _, file := range []string{"log", "metrics", "health.json", "sessions.json", "container.json", "versions", "deploy.conf"} {
			if kept, _ := filepath.Glob(h.path("state/evidence/*-" + fault + "-*/" + file)); len(kept) == 0 {
				t.Errorf("%s: no %s was kept", fault, file)
			}
		}
	}
}

// ask asks 20 times a second, whatever is answered.
func ask(url string, stop chan struct{}) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if a, err := http.Get(url); err == nil {
			a.Body.Close()
		}
	}
}

// TestDeployOfAVersionThatDies: one that ends while it is observed. Only then nobody answers
// for a while.
func TestDeployOfAVersionThatDies(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.release("dies")
	h.configure("OBSERVE=60")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	done := make(chan said)
	go func() { done <- h.script("deploy.sh", "dies") }()
	eventually(t, "the new version", func() bool {
		return h.runs() == "dies" && exec.Command("curl", "-sf", h.url+"/readyz").Run() == nil
	})
	time.Sleep(3 * time.Second) // it is verified
	begun := time.Now()
	h.must(nil, "stop", "--time", "0", h.must(nil, "ps", "--filter", "label=detections.tag=dies", "--format", "{{.Names}}"))
	s := <-done
	s.check(t, "a version that dies", 5, "health checks in a row have failed", "rolled back to v1")
	t.Logf("dies: found out and rolled back after %v, of it %s for the rollback", time.Since(begun).Round(100*time.Millisecond), s.steps()["rollback"])
	if h.runs() != "v1" {
		t.Errorf("%q runs", h.runs())
	}
}

// TestDeployGoesBackFromALaterSchema: what the version after this one has written, with things
// in every record that this one does not know, is read and gone on with after a rollback.
func TestDeployGoesBackFromALaterSchema(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.releaseNext("next")
	h.configure("READY_TIMEOUT=60")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	l, ws := newLoad(t, h.url), &watchers{t: t, url: h.url}
	l.began = ws.begin
	l.begin(3, 7)
	for range 2 {
		h.script("deploy.sh", "next").check(t, "deploy", 0, "observe   ok")
		time.Sleep(3 * time.Second) // some sessions begin and end in the later schema
		h.script("deploy.sh", "--rollback").check(t, "rollback", 0, "rollback  ok")
	}
	l.finish()
	ws.work.Wait()
	t.Logf("%v\n%v", l, ws)
	if l.resumed.Load() == 0 || l.sessions.Load() == 0 {
		t.Errorf("%d sessions, %d came back", l.sessions.Load(), l.resumed.Load())
	}
	// Everything that was written by either, read by this version.
	out, err := exec.Command("bash", "-c", fmt.Sprintf(
		`curl -sf %[1]s/v1/sessions | jq -r '.sessions[].session' | while read -r s; do curl -sf "%[1]s/v1/sessions/$s/results?format=ndjson" | tail -n 1; done`, h.url)).Output()
	ends := strings.Count(string(out), `"type":"end"`)
	if err != nil || ends < int(l.sessions.Load()) {
		t.Errorf("%d of %d sessions can be read to their end: %v", ends, l.sessions.Load(), err)
	}
}

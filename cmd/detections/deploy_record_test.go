//go:build deploy

package main_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRecordDeployments runs the commands of docs/deployment.md again, under load, and writes what
// they print in its place: make docs-deployment.
func TestRecordDeployments(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.release("v2")
	h.releaseNext("next")
	h.releaseFrom("next", "v3", "ENV FAULT=answers-500-later")
	annotations := newAnnotations(t).url
	h.write("env", "DETECTIONS_ANNOTATIONS_URL="+annotations+"\n")
	for _, tag := range []string{"v2", "v3"} {
		h.write("ci-"+tag, "lint ok\ntest ok\nsecurity ok\ne2e ok\n")
		h.sum("ci-" + tag)
	}
	h.write("scan", "critical 0\nhigh 0\n")
	h.sum("scan")
	h.configure("ENV_FILE="+h.path("env"), "REQUIRED=DETECTIONS_ANNOTATIONS_URL", "CI_RESULT="+h.path("ci-{tag}"), "SCAN_RESULT="+h.path("scan"), "OBSERVE=30")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	l := newLoad(t, h.url)
	l.begin(2, 9)
	const page = repository + "/docs/deployment.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	tidy := strings.NewReplacer(h.image, "registry.example.org/detections", h.path("data"), "/var/lib/detections", h.path("state"), "/srv/detections", h.dir, "/srv", annotations, "https://annotations.example.org", h.url, "http://127.0.0.1:8080")
	var out strings.Builder
	console, commands := false, 0
	for line := range strings.Lines(string(text)) {
		command, is := strings.CutPrefix(line, "$ ")
		switch {
		case strings.HasPrefix(line, "```"):
			console = line == "```console\n"
		case console && is:
			commands++
			out.WriteString(line)
			// Each in the image of a terminal: what is said on both streams, in order.
			cmd := exec.Command("bash", "-c", strings.TrimSpace(command)+" 2>&1; status=$?; [[ $status -eq 0 ]] || echo \"(exit status $status)\"")
			cmd.Dir, cmd.Env = repository, h.environ()
			said, err := cmd.Output()
			if err != nil {
				t.Errorf("%s: %v", command, err)
			}
			out.WriteString(tidy.Replace(string(said)))
			continue
		case console:
			continue // what it printed last time
		}
		out.WriteString(line)
	}
	l.finish()
	t.Log(l)
	if commands != 3 {
		t.Errorf("%d commands", commands)
	}
	if t.Failed() {
		return
	}
	if err := os.WriteFile(page, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

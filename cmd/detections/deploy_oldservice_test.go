//go:build deploy

package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"detections/infer/loader/loadertest"
)

// oldDeployment is a host with what the service before this one was deployed with.
type oldDeployment struct {
	*host
	loader, annotations string
	hook                string   // URL of the notification hook
	told                []string // by the notification hook
	mu                  sync.Mutex
}

// TestDeployOldService: what was known of the deployment of the service before this one
// holds here, or has ended for a better. A row of docs/old-service.md each; the others are
// in TestE2EOldService.
func TestDeployOldService(t *testing.T) {
	o := &oldDeployment{host: newHost(t)}
	o.release("v1")
	o.release("v2")
	o.releaseNext("next")
	o.releaseFrom("next", "broken", "ENV FAULT=answers-500")
	service := &loadertest.Service{Tokens: func(token string) bool { return token == "open" }}
	service.Put("cats", catsModel(t, 1))
	at, hook := httptest.NewServer(service), httptest.NewServer(http.HandlerFunc(o.notified))
	defer at.Close()
	defer hook.Close()
	o.hook, o.loader, o.annotations = hook.URL, at.URL, newAnnotations(t).url
	o.write("data/classes.json", `[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]`)
	o.write("ci-v2", "lint ok\ntest ok\nsecurity ok\ne2e ok\n")
	o.write("scan", "critical 0\nhigh 0\n")
	o.sum("ci-v2")
	o.sum("scan")
	o.write("env", strings.Join([]string{
		"DETECTIONS_LOADER_URL=" + o.loader, "DETECTIONS_LOADER_TOKEN=open", "DETECTIONS_MODEL=cats",
		"DETECTIONS_CLASSES=/data/classes.json", "DETECTIONS_ANNOTATIONS_URL=" + o.annotations,
	}, "\n")+"\n")
	o.configure("ENV_FILE="+o.path("env"), "NOTIFY_URL="+o.hook)
	for _, row := range []struct {
		name  string
		check func(*oldDeployment, *testing.T)
	}{
		{"flow of the scripts", (*oldDeployment).flow},
		{"checklist before a deployment", (*oldDeployment).before},
		{"downtime of a deployment", (*oldDeployment).downtime},
		{"checklist after a deployment", (*oldDeployment).after},
		{"previous tag", (*oldDeployment).previousTag},
		{"rollback triggers", (*oldDeployment).triggers},
		{"database migrations", (*oldDeployment).migrations},
	} {
		if !t.Run(row.name, func(t *testing.T) { row.check(o, t) }) {
			return // the rows build on each other
		}
	}
}

func (o *oldDeployment) notified(_ http.ResponseWriter, r *http.Request) {
	text, _ := io.ReadAll(r.Body) // a torn one is missed below
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, string(text))
}

// lastTold is what the notification hook was told last.
func (o *oldDeployment) lastTold() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.told) == 0 {
		return ""
	}
	return o.told[len(o.told)-1]
}

// sum writes what sha256sum says of a file beside it.
func (h *host) sum(file string) {
	h.t.Helper()
	out, err := exec.Command("sha256sum", h.path(file)).Output()
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(file+".sha256", string(out))
}

// flow: pull, stop, start, check, with the names that they had; rollback if it is not healthy.
func (o *oldDeployment) flow(t *testing.T) {
	o.script("pull-images.sh", "v1").check(t, "pull", 0, "v1 is here")
	o.script("stop-services.sh").check(t, "stop", 0, "nothing runs")
	o.script("start-services.sh", "v1").check(t, "start", 0, "v1 is ready")
	o.script("health-check.sh").check(t, "health", 0, "healthy: cats@1")
	o.script("deploy.sh", "--rollback").check(t, "rollback", 2, "there is nothing to go back to")
}

// before: every check has its line, and each of them can fail.
func (o *oldDeployment) before(t *testing.T) {
	good := []string{"ENV_FILE=" + o.path("env"), "CI_RESULT=" + o.path("ci-{tag}"), "SCAN_RESULT=" + o.path("scan"), "REQUIRED='DETECTIONS_MODEL DETECTIONS_LOADER_URL'"}
	env, err := os.ReadFile(o.path("env"))
	if err != nil {
		t.Fatal(err)
	}
	for setting, c := range map[string]struct{ value, says string }{
		"CI_RESULT":   {o.path("ci-none"), "CI                           FAILED"},
		"SCAN_RESULT": {o.path("scan-none"), "security scan                FAILED"},
		"REQUIRED":    {"DETECTIONS_NOTHING", "environment variables        FAILED  not set in ENV_FILE: DETECTIONS_NOTHING"},
		"MIN_DISK":    {"999999999", "disk                         FAILED"},
	} {
		o.configure(append(good, setting+"="+c.value)...)
		o.script("deploy.sh", "v2").check(t, setting, 4, c.says, "nothing was changed")
	}
	for line, c := range map[string]struct{ value, says string }{
		"DETECTIONS_CLASSES=/data/classes.json":       {"DETECTIONS_CLASSES=/data/none.json", "classes.json                 FAILED"},
		"DETECTIONS_MODEL=cats":                       {"DETECTIONS_MODEL=birds", "model in the Loader          FAILED  " + o.loader + "/models/birds: 404"},
		"DETECTIONS_LOADER_URL=" + o.loader:           {"DETECTIONS_LOADER_URL=http://127.0.0.1:1", "Loader                       FAILED"},
		"DETECTIONS_ANNOTATIONS_URL=" + o.annotations: {"DETECTIONS_ANNOTATIONS_URL=http://127.0.0.1:1", "Annotations service          FAILED"},
	} {
		o.write("env", strings.Replace(string(env), line, c.value, 1))
		o.configure(good...)
		o.script("deploy.sh", "v2").check(t, c.value, 4, c.says, "nothing was changed")
	}
	o.write("env", string(env))
	o.configure(append(good, "NOTIFY_URL="+o.hook)...)
	if o.runs() != "v1" {
		t.Errorf("%q runs", o.runs())
	}
}

// downtime: there is none, on one host.
func (o *oldDeployment) downtime(t *testing.T) {
	health := newProbe(o.url)
	s := o.script("deploy.sh", "v2")
	health.end(t)
	s.check(t, "deploy", 0, "CI                           ok", "security scan                ok", "environment variables        ok", "classes.json                 ok",
		"Loader                       ok", "model in the Loader          ok", "Annotations service          ok", "disk                         ok", "observe   ok")
	t.Log(health)
}

// after: the same deployment, checked.
func (o *oldDeployment) after(t *testing.T) {
	o.script("deploy.sh", "v2").check(t, "again", 0, "v2 runs already", "GET /health                  ok", "a detection                  ok  cats@1",
		"ENABLED after it             ok", "GET /detect/stream           ok", "log without errors           ok")
	if told := o.lastTold(); !strings.Contains(told, `"event":"success"`) {
		t.Errorf("told %s", told)
	}
}

// previousTag: written before the deployment; a rollback goes there, checks, and tells.
func (o *oldDeployment) previousTag(t *testing.T) {
	if o.previous() != "v1" {
		t.Errorf("before: %q", o.previous())
	}
	o.script("deploy.sh", "--rollback").check(t, "rollback", 0, "evidence is in", "rollback  ok", "verify    ok")
	o.script("health-check.sh").check(t, "health", 0, "healthy")
	if told := o.lastTold(); o.runs() != "v1" || !strings.Contains(told, `"event":"rollback"`) {
		t.Errorf("%q runs; told %s", o.runs(), told)
	}
	o.script("deploy.sh", "--rollback").check(t, "again", 0, "v1 runs already; .deploy-previous-tag names no other")
}

// triggers: a version that does not work is rolled back by itself; the others are
// TestDeployOfAVersionThatBreaksLater and …ThatDies.
func (o *oldDeployment) triggers(t *testing.T) {
	o.configure("ENV_FILE="+o.path("env"), "NOTIFY_URL="+o.hook)
	o.script("deploy.sh", "broken").check(t, "deploy", 5, "rolled back to v1")
	if told := o.lastTold(); o.runs() != "v1" || !strings.Contains(told, `"event":"rollback"`) {
		t.Errorf("%q runs; told %s", o.runs(), told)
	}
}

// migrations: none are needed, forth or back.
func (o *oldDeployment) migrations(t *testing.T) {
	o.script("deploy.sh", "next").check(t, "deploy", 0)
	p := &process{t: t, url: o.url}
	written := p.file("people.ts", "every=10")
	o.script("deploy.sh", "--rollback").check(t, "rollback", 0)
	read := p.curl(o.url + "/v1/sessions/" + written[0].Session + "/results?format=ndjson")
	if len(read) != 12 || read[len(read)-1].Type != "end" {
		t.Errorf("%d events: %+v", len(read), read)
	}
}

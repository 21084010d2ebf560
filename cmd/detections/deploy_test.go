//go:build deploy

package main_test

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDeployUnderLoad deploys and rolls back again and again while clients upload videos of
// minutes, and others watch.
func TestDeployUnderLoad(t *testing.T) {
	h, n := newHost(t), rounds(t, 2)
	h.release("v1")
	h.release("v2")
	h.configure("READY_TIMEOUT=60")
	h.script("start-services.sh", "v1").check(t, "start", 0, "is ready at")
	l, ws := newLoadOf(t, h.url, minuteJobs, minutes(t)), &watchers{t: t, url: h.url}
	l.pace, l.began = realTime, ws.begin
	l.begin(number(t, "CHAOS_CLIENTS", 4), 5)
	health, begun := newProbe(h.url), time.Now()
	for i := range n {
		s := h.script("deploy.sh", "v2")
		s.check(t, "deploy", 0, "replace   ok", "observe   ok")
		if h.runs() != "v2" || h.previous() != "v1" {
			t.Fatalf("after deployment %d %q runs, and %q ran before", i, h.runs(), h.previous())
		}
		if i == 0 { // as after a reboot: the version that ran last, not the one before it
			h.script("start-services.sh").check(t, "start without a tag", 0, "runs already")
			h.script("start-services.sh", "v1").check(t, "start of another", 1, "with tag v2")
		}
		s = h.script("deploy.sh", "--rollback")
		s.check(t, "rollback", 0, "rollback  ok")
		if h.runs() != "v1" {
			t.Fatalf("after rollback %d %q runs", i, h.runs())
		}
	}
	t.Logf("%d deployments and rollbacks in %v", n, time.Since(begun).Round(time.Second))
	health.end(t)
	l.finish()
	ws.work.Wait()
	t.Logf("%v\n%v\n%v", l, ws, health)
	if l.resumed.Load() == 0 || ws.resumed.Load() == 0 || l.refused.Load() > 0 {
		t.Errorf("%d uploads and %d watchers came back, %d refused", l.resumed.Load(), ws.resumed.Load(), l.refused.Load())
	}
}

// TestDeployInterruptedAnywhere kills deploy.sh in every step, at its beginning and a moment
// later: the same command again repairs.
func TestDeployInterruptedAnywhere(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.release("v2")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	health := newProbe(h.url)
	steps := []string{"", "deploy.sh: checks ", "deploy.sh: pull ", "deploy.sh: try ", "deploy.sh: replace ", "deploy.sh: verify "}
	tags := []string{"v1", "v2"}
	round := 0
	for _, later := range []time.Duration{0, 400 * time.Millisecond} {
		for _, step := range steps {
			round++
			tag := tags[round%2]
			h.killAfter(step, later, tag)
			// The lock is free once what the script had started has ended too.
			eventually(t, "the lock", func() bool { return h.script("deploy.sh", tag).status != 3 })
			if h.runs() != tag {
				t.Fatalf("killed %v after %q: %q runs, not %s", later, step, h.runs(), tag)
			}
		}
	}
	h.killAfter("", 700*time.Millisecond, "--rollback")
	eventually(t, "the lock", func() bool { return h.script("deploy.sh", "--rollback").status != 3 })
	if h.runs() != h.previous() {
		t.Errorf("%q runs, not %q", h.runs(), h.previous())
	}
	health.end(t)
	t.Logf("killed %d times: %v", round+1, health)
}

// killAfter runs deploy.sh, and kills it some time after it has said that a step is over; after
// nothing: after its start.
func (h *host) killAfter(step string, later time.Duration, args ...string) {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(repository, "deploy", "deploy.sh"), args...)
	cmd.Env = h.environ()
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	for step != "" && lines.Scan() && !strings.HasPrefix(lines.Text(), step) {
	}
	time.Sleep(later)
	_ = cmd.Process.Kill()
	errs.Close() // what it had started may have it open still
	_ = cmd.Wait()
}

// TestDeployStopAndStartByHand, as with the old scripts.
func TestDeployStopAndStartByHand(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.script("health-check.sh").check(t, "nothing runs", 1, "not healthy")
	h.script("pull-images.sh", "v1").check(t, "pull", 0, "v1 is here")
	h.configure("PREBUILD=1")
	h.script("pull-images.sh", "v1").check(t, "pull, and build", 0, "v1 is here", "cpu")
	h.script("start-services.sh", "v1").check(t, "start", 0, "ENABLED", "v1 is ready")
	h.script("start-services.sh", "v1").check(t, "start again", 0, "runs already")
	h.script("health-check.sh", "--wait", "10").check(t, "health", 0, "healthy: nanodet-g-416")
	h.script("debug-bundle.sh", h.path("bundle.tar.gz")).check(t, "bundle", 0, "is written")
	list, err := exec.Command("tar", "-tzf", h.path("bundle.tar.gz")).Output()
	for _, file := range []string{"/log\n", "/metrics\n", "/health.json\n", "/versions\n"} {
		if !strings.Contains(string(list), file) {
			t.Errorf("the bundle has no %q: %s, %v", file, list, err)
		}
	}
	h.script("stop-services.sh").check(t, "stop", 0, `sessions: {"suspended":0,"stuck":0}`)
	if h.previous() != "v1" {
		t.Errorf("before: %q", h.previous())
	}
	h.script("stop-services.sh").check(t, "stop again", 0, "nothing runs")
	h.script("start-services.sh").check(t, "start what ran", 0, "v1 is ready")
}

func TestDeploySaysWhatIsWrong(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.script("deploy.sh", "--rollback").check(t, "nothing to go back to", 2, "there is nothing to go back to")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	for name, c := range map[string]struct {
		script string
		args   []string
		conf   []string
		status int
		says   string
	}{
		"unknown tag":        {"deploy.sh", []string{"v9"}, nil, 4, "cannot be had"},
		"no tag":             {"deploy.sh", nil, nil, 2, "name a tag"},
		"not a tag":          {"deploy.sh", []string{"a/b"}, nil, 2, "is no tag"},
		"a bad digest":       {"pull-images.sh", []string{"v1", "sha256:12"}, nil, 2, "is no digest"},
		"another digest":     {"pull-images.sh", []string{"v1", "sha256:" + strings.Repeat("0", 64)}, nil, 1, "cannot be had"},
		"no disk":            {"deploy.sh", []string{"v2"}, []string{"MIN_DISK=999999999"}, 4, "disk                         FAILED"},
		"a missing variable": {"deploy.sh", []string{"v2"}, []string{"REQUIRED=DETECTIONS_MODEL"}, 4, "not set in ENV_FILE: DETECTIONS_MODEL"},
		"no result of CI":    {"deploy.sh", []string{"v2"}, []string{"CI_RESULT=/nowhere/{tag}"}, 4, "/nowhere/v2 or its .sha256 cannot be read"},
		"a bad LISTEN":       {"health-check.sh", nil, []string{"LISTEN=here"}, 2, "LISTEN: expected address:port"},
		"no engine":          {"stop-services.sh", nil, []string{"ENGINE=nothing"}, 2, "there is no nothing"},
		"registry down":      {"pull-images.sh", []string{"v2"}, []string{"IMAGE=127.0.0.1:1/detections"}, 1, "cannot be had"},
		"no registry at all": {"deploy.sh", []string{"v2"}, []string{"IMAGE=127.0.0.1:1/detections"}, 4, "cannot be had"},
		"a missing ENV_FILE": {"deploy.sh", []string{"v1"}, []string{"ENV_FILE=/nowhere"}, 2, "ENV_FILE: /nowhere cannot be read"},
		"no data directory":  {"start-services.sh", []string{"v1"}, []string{"DATA=/nowhere"}, 2, "DATA: there is no folder /nowhere"},
		"a bad number":       {"deploy.sh", []string{"v1"}, []string{"MAX_ERRORS=few"}, 2, `MAX_ERRORS: expected a number, found "few"`},
		"no IMAGE":           {"deploy.sh", []string{"v1"}, []string{"IMAGE="}, 2, "IMAGE is not set"},
	} {
		h.configure(c.conf...)
		h.script(c.script, c.args...).check(t, name, c.status, c.says)
	}
	h.configure()
	h.write("state/.deploy-previous-tag", "no tag at all\n")
	h.script("deploy.sh", "--rollback").check(t, "a tag that is none", 2, "there is no tag in")
	if err := os.Remove(h.path("state/.deploy-previous-tag")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.path("state/.deploy-previous-tag"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.script("deploy.sh", "--rollback").check(t, "an unreadable tag", 2, "cannot be read")
	lock := exec.Command("flock", h.path("state/.deploy-lock"), "sleep", "60")
	if err := lock.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	h.script("deploy.sh", "v1").check(t, "another deployment", 3, "another deployment is under way")
	_ = lock.Process.Kill()
	_ = lock.Wait()
	if h.runs() != "v1" {
		t.Errorf("%q runs", h.runs())
	}
}

// TestDeployToATakenPort: who has it keeps it, and nothing of ours stays behind.
func TestDeployToATakenPort(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	other, err := net.Listen("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	h.script("deploy.sh", "v1").check(t, "deploy", 4, "port                         FAILED", "nothing was changed")
	h.script("start-services.sh", "v1").check(t, "start", 1, "address already in use", "v1 does not start; its log is in")
	other.Close()
	if all := h.must(nil, "ps", "--all", "--format", "{{.Names}} {{.Status}}"); all != "" {
		t.Errorf("left behind: %s", all)
	}
	h.script("deploy.sh", "v1").check(t, "a first deployment", 0, "port                         ok", "observe   ok")
}

// TestDeployChecksResults: what CI and the scan of an image leave is checked line by line.
func TestDeployChecksResults(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.write("ci-v1", "lint ok\ntest ok\nsecurity ok\ne2e ok\n")
	h.write("scan", "critical 0\nhigh 2\n")
	for _, f := range []string{"ci-v1", "scan"} {
		out, err := exec.Command("sha256sum", h.path(f)).Output()
		if err != nil {
			t.Fatal(err)
		}
		h.write(f+".sha256", string(out))
	}
	h.configure("CI_RESULT="+h.path("ci-{tag}"), "SCAN_RESULT="+h.path("scan"))
	h.script("deploy.sh", "v1").check(t, "high findings", 4, "CI                           ok", `has no line "high 0"`)
	h.write("ci-v1", "lint ok\ntest ok\nsecurity ok\ne2e ok\nchanged\n")
	h.script("deploy.sh", "v1").check(t, "a changed file", 4, "is not what its .sha256 says")
}

// TestDeployImage: what is in the image, and how it runs.
func TestDeployImage(t *testing.T) {
	h := newHost(t)
	var images []struct {
		Config struct {
			User   string
			Labels map[string]string
		}
		Healthcheck struct{ Test []string }
		Size        int64
	}
	if err := json.Unmarshal([]byte(h.must(nil, "image", "inspect", h.image+":v1")), &images); err != nil {
		t.Fatal(err)
	}
	i := images[0]
	if i.Size > 150<<20 || i.Config.User != "10001:10001" || len(i.Healthcheck.Test) == 0 || i.Config.Labels["org.opencontainers.image.revision"] == "" {
		t.Errorf("%d MB, %+v", i.Size>>20, i.Config)
	}
	t.Logf("%d MB", i.Size>>20)
	var bom struct {
		Components []struct{ Name, Version string }
	}
	out, err := exec.Command(filepath.Join(repository, "deploy/image/sbom.sh"), filepath.Join(repository, "bin/detections")).Output()
	if err == nil {
		err = json.Unmarshal(out, &bom)
	}
	has := map[string]string{}
	for _, c := range bom.Components {
		has[c.Name] = c.Version
	}
	for _, name := range []string{"FFmpeg", "dav1d", "onnxruntime", "std", "github.com/coder/websocket"} {
		if !regexp.MustCompile(`^v?\d+\.\d+`).MatchString(has[name]) {
			t.Errorf("the bill of materials has %s %q, %v", name, has[name], err)
		}
	}
	limits := []string{"--no-healthcheck", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--read-only"}
	version := h.must(nil, append(append([]string{"run", "--rm", "--network", "none"}, limits...), h.image+":v1", "version")...)
	if !regexp.MustCompile(`^detections \S+`).MatchString(version) {
		t.Errorf("it says %q", version)
	}
	// By itself, as compose runs it: a new volume is its user's, and its health check finds it.
	h.must(nil, append(append([]string{"run", "--detach", "--name", "alone", "--network", "host", "--tmpfs", "/tmp", "--volume", "data:/data", "--env", "DETECTIONS_LISTEN=" + strings.TrimPrefix(h.url, "http://")}, limits...), h.image+":v1")...)
	eventually(t, "the health check", func() bool {
		check := exec.Command(h.engine[0], append(h.engine[1:], "exec", "alone", "/detections", "health")...)
		return check.Run() == nil
	})
}

//go:build deploy

package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The deployment tests run deploy/*.sh on real containers (podman with runc) with images
// out of a real registry on loopback. `make test-deploy` installs both.

// host is a machine that hubs are deployed on: a registry, a container engine with a
// storage of its own, and a deploy.conf.
type host struct {
	t                *testing.T
	dir, image, url  string
	engine           []string
	registries, conf string
}

// engineArgs are what podman needs where there is neither systemd nor a user session.
const engineArgs = "--runtime runc --cgroup-manager cgroupfs"

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // podman bounds the length of its paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{t: t, dir: dir}
	registry, port := freePort(t), freePort(t)
	h.image, h.url = registry+"/detections", "http://"+port
	store := "--root " + h.path("containers") + " --runroot " + h.path("run")
	h.engine = append([]string{"podman"}, strings.Fields(store+" "+engineArgs)...)
	h.registries, h.conf = h.path("registries.conf"), h.path("deploy.conf")
	h.write("registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", registry))
	h.write("registry.yml", fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", h.path("registry"), registry))
	h.configure()
	if err := os.MkdirAll(h.path("data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.path("data"), 10001, 10001); err != nil {
		t.Fatalf("the test needs root: %v", err)
	}
	r := exec.Command("docker-registry", "serve", h.path("registry.yml"))
	r.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := r.Start(); err != nil {
		t.Fatalf("%v (make test-deploy installs it)", err)
	}
	t.Cleanup(func() {
		_ = exec.Command(h.engine[0], append(h.engine[1:], "rm", "--all", "--force", "--time", "1")...).Run()
		_ = exec.Command(h.engine[0], append(h.engine[1:], "rmi", "--all", "--force")...).Run()
		_ = r.Process.Kill()
		_ = r.Wait()
	})
	eventually(t, "the registry", func() bool {
		resp, err := http.Get("http://" + registry + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	h.must(nil, "pull", "--quiet", "docker-archive:"+need(t, "DETECTIONS_TEST_IMAGE"))
	h.must(nil, "tag", "detections:test", h.image+":v1")
	return h
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 600 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: not within 30 s", what)
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// configure writes deploy.conf, with more lines if there are some.
func (h *host) configure(more ...string) {
	h.t.Helper()
	h.write("deploy.conf", strings.Join(append([]string{
		"IMAGE=" + h.image, "LISTEN=" + strings.TrimPrefix(h.url, "http://"), "DATA=" + h.path("data"), "STATE=" + h.path("state"),
		"ENGINE=podman", fmt.Sprintf("ENGINE_ARGS=%q", strings.Join(h.engine[1:], " ")),
		`RUN_ARGS="--no-healthcheck --ulimit nofile=4096:4096 --ulimit nproc=4096:4096"`,
		"READY_TIMEOUT=15", "OBSERVE=2", "MIN_DISK=1",
	}, more...), "\n")+"\n")
}

func (h *host) environ() []string {
	return append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+h.registries, "DETECTIONS_DEPLOY_CONF="+h.conf)
}

// must runs the container engine.
func (h *host) must(stdin *string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command(h.engine[0], append(h.engine[1:], args...)...)
	cmd.Env = h.environ()
	if stdin != nil {
		cmd.Stdin = strings.NewReader(*stdin)
	}
	s := finish(h.t, cmd)
	s.check(h.t, strings.Join(args, " "), 0)
	return strings.TrimSpace(s.out)
}

// release puts a version into the registry: v1 with more lines in its recipe.
func (h *host) release(tag string, lines ...string) {
	h.t.Helper()
	recipe := "FROM " + h.image + ":v1\nLABEL version=" + tag + "\n" + strings.Join(lines, "\n") + "\n"
	h.must(&recipe, "build", "--quiet", "--format", "docker", "--tag", h.image+":"+tag, "-")
	h.must(nil, "push", "--quiet", h.image+":"+tag)
}

// script runs one of the scripts to its end.
func (h *host) script(name string, args ...string) said {
	h.t.Helper()
	cmd := exec.Command(filepath.Join(repository, "deploy", name), args...)
	cmd.Env = h.environ()
	return finish(h.t, cmd)
}

const repository = "../.."

// runs says which tag runs; empty: none, or several.
func (h *host) runs() string {
	h.t.Helper()
	return h.must(nil, "ps", "--filter", "label=detections.hub=detections", "--format", `{{index .Labels "detections.tag"}}`)
}

func (h *host) previous() string {
	b, _ := os.ReadFile(h.path("state/.deploy-previous-tag"))
	return strings.TrimSpace(string(b))
}

// TestDeployUnderLoad deploys and rolls back again and again while clients upload.
func TestDeployUnderLoad(t *testing.T) {
	h, n := newHost(t), rounds(t, 2)
	h.release("v1")
	h.release("v2")
	h.script("start-services.sh", "v1").check(t, "start", 0, "is ready at")
	l := newLoad(t, h.url)
	l.begin(number(t, "CHAOS_CLIENTS", 4), 5)
	health := newProbe(h.url)
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
	health.end(t)
	l.finish()
	t.Logf("%d deployments and rollbacks: %v; %v", n, l, health)
	if l.resumed.Load() == 0 || l.refused.Load() > 0 {
		t.Errorf("%d came back, %d refused", l.resumed.Load(), l.refused.Load())
	}
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
		t.Logf("%s: found out after %v", tag, time.Since(begun).Round(100*time.Millisecond))
		if h.runs() != "v1" {
			t.Fatalf("%s: %q runs", tag, h.runs())
		}
	}
	health.end(t)
	t.Log(health)

	// One that ends while it is observed.
	h.release("dies")
	h.configure("OBSERVE=60")
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
	t.Logf("died, noticed and rolled back after %v", time.Since(begun).Round(100*time.Millisecond))
	if h.runs() != "v1" {
		t.Errorf("%q runs", h.runs())
	}
	evidence, _ := filepath.Glob(h.path("state/evidence/*/log"))
	if len(evidence) == 0 {
		t.Error("no evidence was kept")
	}
}

// TestDeployInterruptedAnywhere kills deploy.sh at random moments: the same command again
// repairs.
func TestDeployInterruptedAnywhere(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.release("v2")
	h.script("start-services.sh", "v1").check(t, "start", 0)
	health := newProbe(h.url)
	tags := []string{"v2", "v1"}
	for i := range rounds(t, 6) {
		tag := tags[i%2]
		cmd := exec.Command(filepath.Join(repository, "deploy", "deploy.sh"), tag)
		cmd.Env = h.environ()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(300+700*i) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// The lock is free once what the script had started has ended too.
		eventually(t, "the lock", func() bool { return h.script("deploy.sh", tag).status != 3 })
		if h.runs() != tag {
			t.Fatalf("round %d: %q runs, not %s", i, h.runs(), tag)
		}
	}
	health.end(t)
	t.Log(health)
}

// TestDeployStopAndStartByHand, as with the old scripts.
func TestDeployStopAndStartByHand(t *testing.T) {
	h := newHost(t)
	h.release("v1")
	h.script("health-check.sh").check(t, "nothing runs", 1, "not healthy")
	h.script("pull-images.sh", "v1").check(t, "pull", 0, "v1 is here")
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
	} {
		h.configure(c.conf...)
		h.script(c.script, c.args...).check(t, name, c.status, c.says)
	}
	h.configure()
	h.write("state/.deploy-previous-tag", "no tag at all\n")
	h.script("deploy.sh", "--rollback").check(t, "an unreadable tag", 2, "there is no tag in")
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
	version := h.must(nil, "run", "--rm", "--no-healthcheck", "--network", "none", "--read-only", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", h.image+":v1", "version")
	if !regexp.MustCompile(`^detections \S+`).MatchString(version) {
		t.Errorf("it says %q", version)
	}
}

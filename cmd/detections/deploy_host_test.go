//go:build deploy

package main_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	h.releaseFrom("v1", tag, lines...)
}

func (h *host) releaseFrom(base, tag string, lines ...string) {
	h.t.Helper()
	recipe := "FROM " + h.image + ":" + base + "\nLABEL version=" + tag + "\n" + strings.Join(lines, "\n") + "\n"
	h.must(&recipe, "build", "--quiet", "--format", "docker", "--tag", h.image+":"+tag, "-")
	h.must(nil, "push", "--quiet", h.image+":"+tag)
}

// releaseNext puts a version into the registry whose program was built with the tags faults
// and nextschema: it writes what v1 does not know, and breaks if it is told to.
func (h *host) releaseNext(tag string) {
	h.t.Helper()
	h.write("next.recipe", "FROM "+h.image+":v1\nCOPY detections /detections\n")
	h.must(nil, "build", "--quiet", "--format", "docker", "--file", h.path("next.recipe"), "--tag", h.image+":"+tag, filepath.Dir(need(h.t, "DETECTIONS_TEST_NEXT")))
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

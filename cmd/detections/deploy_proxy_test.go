//go:build deploy

package main_test

import (
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestDeployBehindAProxy: what a proxy in front would give instead of a listener that is handed
// over. The hub is stopped and started behind the Caddyfile of deploy/compose, and then
// replaced by its successor behind the same.
func TestDeployBehindAProxy(t *testing.T) {
	hub, site, dir := freePort(t), "http://"+freePort(t), t.TempDir()
	// As compose runs it: it believes what the proxy says of its clients.
	args := []string{"--trusted-proxy", "127.0.0.1"}
	p := onSamePlace(t, hub, dir, args...)
	p.await("engine ready")
	caddy := exec.Command("caddy", "run", "--config", repository+"/deploy/compose/Caddyfile", "--adapter", "caddyfile")
	caddy.Env = append(os.Environ(), "SITE="+site, "HUB="+hub, "HOME="+t.TempDir())
	if err := caddy.Start(); err != nil {
		t.Fatalf("%v (make test-deploy installs it)", err)
	}
	t.Cleanup(func() {
		_ = caddy.Process.Kill()
		_ = caddy.Wait()
	})
	eventually(t, "the proxy", func() bool {
		a, err := http.Get(site + "/readyz")
		if err == nil {
			a.Body.Close()
		}
		return err == nil && a.StatusCode == http.StatusOK
	})
	if a, err := http.Get(site + "/metrics"); err != nil || a.StatusCode != http.StatusNotFound {
		t.Errorf("metrics through the proxy: %v, %v", a, err)
	}
	l := newLoad(t, site)
	l.begin(number(t, "CHAOS_CLIENTS", 3), 11)
	begun := newProbe(site)
	for range rounds(t, 3) {
		p.signal(syscall.SIGTERM)
		p.exit()
		p = onSamePlace(t, hub, dir, args...)
		p.await("engine ready")
		time.Sleep(time.Second)
	}
	begun.end(t)
	t.Logf("stopped and started behind the proxy: %v; by then %v", begun, l)
	begun = newProbe(site)
	for range rounds(t, 3) {
		next := onSamePlace(t, hub, dir, append(args, "--takeover")...)
		p.exit()
		p = next
		time.Sleep(time.Second)
	}
	begun.end(t)
	l.finish()
	t.Logf("handed over behind the proxy: %v; all in all %v", begun, l)
	if l.lost.Load()+l.twice.Load() > 0 {
		t.Errorf("%d lost, %d twice", l.lost.Load(), l.twice.Load())
	}
}

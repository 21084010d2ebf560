//go:build ceiling

package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ceiling makes a control group with a limit of memory, of whichever version there is. It
// takes root.
func ceiling(t *testing.T, most int) (group string) {
	t.Helper()
	base, limit := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil {
		base, limit = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	group = filepath.Join(base, fmt.Sprintf("detections-test-%d", os.Getpid()))
	err := os.Mkdir(group, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(group, limit), fmt.Append(nil, most), 0o600)
	}
	if err != nil {
		t.Fatalf("this takes root, and control groups: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	return group
}

// counter reads a counter of the group, by the name that either version has for it.
func counter(group string, files ...string) string {
	for _, f := range files {
		name, word, _ := strings.Cut(f, " ")
		text, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, word); ok {
				return strings.TrimSpace(rest)
			}
		}
	}
	return "?"
}

// TestE2EMemoryCeiling gives a hub 512 MiB, and more uploads at once than fit. What is too
// much must be refused; neither the hub nor a decoder process may run out of memory.
func TestE2EMemoryCeiling(t *testing.T) {
	const clients, rounds = 24, 3
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	group := ceiling(t, 512<<20)
	p := launch(t, nil, need(t, "ORT_LIBRARY"), exec.Command("sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs"),
		path, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--providers", "cpu"))
	p.url = p.await("serving")["url"].(string)
	p.await("engine ready")
	if m := p.await("sessions are limited by memory"); m["sessions"] != 4.0 {
		t.Errorf("limited to %v sessions", m["sessions"])
	}
	codes := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	videos := [][]byte{read(t, "camera.mp4"), read(t, "people.mp4")}
	for i := range clients {
		all.Go(func() {
			for range rounds {
				code, ends, err := p.send(videos[i%len(videos)], "")
				if err != nil || ends != 1 {
					t.Errorf("%d ends, err %v", ends, err)
				}
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	kills := counter(group, "memory.events oom_kill ", "memory.oom_control oom_kill ")
	t.Logf("of %d uploads: %v; killed for memory: %s; most memory: %s bytes", clients*rounds, codes, kills, counter(group, "memory.peak", "memory.max_usage_in_bytes"))
	if codes["done"] == 0 || codes["overloaded"] == 0 || codes["done"]+codes["overloaded"] != clients*rounds || kills != "0" {
		t.Errorf("ends: %v, killed for memory: %s", codes, kills)
	}
	if status := p.get(t, "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if code, _, err := p.send(videos[1], ""); code != "done" {
		t.Errorf("afterwards: %s, %v", code, err)
	}
}

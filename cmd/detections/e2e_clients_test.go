package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestE2EPrintedClients runs the clients that the README prints.
func TestE2EPrintedClients(t *testing.T) {
	p := serve(t)
	url, file := strings.Replace(p.url, "http", "ws", 1)+"/v1/session", media(t, "people.mkv")
	// A module finds its packages beside itself.
	script := filepath.Join(t.TempDir(), "stream.mjs")
	text, err := os.ReadFile("../../docs/clients/stream.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, text, 0o600); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join(need(t, "DETECTIONS_TEST_CLIENTS"), "node_modules")
	if err := os.Symlink(modules, filepath.Join(filepath.Dir(script), "node_modules")); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"Python":     {"/usr/bin/python3", "../../docs/clients/stream.py", url, file},
		"JavaScript": {"node", script, url, file},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err != nil || len(lines) != 101 || !strings.Contains(lines[0], "person 0.8") || !strings.Contains(lines[100], `"outcome":"done"`) {
			t.Errorf("%s: %v, %d lines: %.2000s", name, err, len(lines), out)
		}
	}
}

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"detections/docs/clients"
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
	clientOfCurl(t, p)
	clientInGo(t, p)
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

func clientOfCurl(t *testing.T, p *process) {
	t.Helper()
	out, err := exec.Command("bash", "../../docs/clients/curl.sh", p.url, media(t, "people.mkv"), media(t, "frame.jpg")).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	results := strings.Count(string(out), `"type":"detections"`)
	if err != nil || results != 20 || !strings.Contains(lines[len(lines)-1], `"label":"person"`) {
		t.Errorf("curl: %v, %d results: %.2000s", err, results, out)
	}
}

func clientInGo(t *testing.T, p *process) {
	t.Helper()
	out, err := exec.Command("go", "run", "../../docs/clients/stream", p.url, media(t, "people.mkv")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "person 0.8") || !strings.HasSuffix(string(out), "done 20 frames\n") {
		t.Errorf("Go: %v: %.2000s", err, out)
	}
}

// TestClientsAreAllThere keeps the list of the page complete.
func TestClientsAreAllThere(t *testing.T) {
	list, err := clients.All("hub.example:8080")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, c := range list {
		names = append(names, c.Name)
		if c.Text == "" || !strings.Contains(c.Run, "hub.example:8080") {
			t.Errorf("%s: %q", c.Name, c.Run)
		}
	}
	if strings.Join(names, " ") != "curl Python JavaScript Go Python, live Browser, live" {
		t.Errorf("clients: %v", names)
	}
}

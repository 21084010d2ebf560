package web_test

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestMonitoringKnowsTheMetrics: alert rules and the dashboard ask for nothing that the
// hub does not have, and what it has is explained.
func TestMonitoringKnowsTheMetrics(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{outbox: &letterBox{}})
	s.do("POST", "/detect", strings.NewReader(""))
	text, err := io.ReadAll(s.get("/metrics").Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		b, err := os.ReadFile("../deploy/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bdetections_[a-z_]+`).FindAllString(string(b), -1)
		if len(names) < 8 {
			t.Errorf("%s: metrics %v", file, names)
		}
		for _, n := range names {
			if !regexp.MustCompile(`(?m)^` + n + `[{ ]`).Match(text) {
				t.Errorf("%s asks for %s", file, n)
			}
		}
	}
	page, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (detections_[a-z_]+) `).FindAllSubmatch(text, -1) {
		if name := string(m[1]); !strings.Contains(string(page), name) && !strings.HasPrefix(name, "detections_outbox_") {
			t.Errorf("docs/deployment.md does not explain %s", name)
		}
	}
}

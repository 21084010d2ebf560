package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"detections/session/wire"
)

// TestTroubleshootingKnowsEveryCodeAndAlert: each has a section of its own, and nothing is
// there that does not exist any more.
func TestTroubleshootingKnowsEveryCodeAndAlert(t *testing.T) {
	t.Parallel()
	page := readText(t, filepath.Join(docs, "troubleshooting.md"))
	var want []string
	for _, m := range regexp.MustCompile(`(?m)^ +- alert: (\w+)$`).FindAllStringSubmatch(readText(t, "../../deploy/monitoring/alerts.yml"), -1) {
		want = append(want, m[1])
	}
	if len(want) < 5 {
		t.Errorf("alerts %v", want)
	}
	for _, e := range wire.Errors {
		want = append(want, "`"+string(e.Code)+"`")
	}
	var got []string
	for _, m := range regexp.MustCompile("(?m)^### (.*)\n\n(.)").FindAllStringSubmatch(page, -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("sections %s\nwant     %s", strings.Join(got, " "), strings.Join(want, " "))
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

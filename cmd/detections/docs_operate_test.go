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

// TestOldServiceNamesTestsThatExist: what docs/old-service.md says is checked by a test is.
func TestOldServiceNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range files {
		code.WriteString(readText(t, f))
	}
	rows := 0
	for line := range strings.Lines(readText(t, filepath.Join(docs, "old-service.md"))) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| known") {
			continue
		}
		rows++
		tests := regexp.MustCompile("`(Test\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, m := range tests {
			if !strings.Contains(code.String(), "func "+m[1]+"(t *testing.T)") {
				t.Errorf("there is no %s", m[1])
			}
			if m[2] != "" && !strings.Contains(code.String(), `{"`+m[2]+`", (*old`) {
				t.Errorf("%s has no %q", m[1], m[2])
			}
		}
	}
	if rows != 17 {
		t.Errorf("%d rows", rows)
	}
}

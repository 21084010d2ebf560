package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"detections/session/wire"
)

var update = flag.Bool("update", false, "write the generated pages of docs/ instead of comparing them")

const docs = "../../docs"

// TestGeneratedDocs compares the pages of docs/ that are made from the code.
// To write them: go test ./cmd/detections -run GeneratedDocs -update
func TestGeneratedDocs(t *testing.T) {
	for name, want := range map[string]string{
		"settings.md": settingsPage(),
		"errors.md":   errorsPage(),
	} {
		path := filepath.Join(docs, name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("docs/%s is not what the code says (%v); run: go test ./cmd/detections -run GeneratedDocs -update", name, err)
		}
	}
}

// TestREADMEShowsTheClients keeps the printed clients equal to the tested files.
func TestREADMEShowsTheClients(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stream.py", "stream.mjs"} {
		text, err := os.ReadFile(filepath.Join(docs, "clients", name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(readme), string(text)) {
			t.Errorf("README.md does not show docs/clients/%s as it is", name)
		}
	}
}

const generated = "<!-- Made from the code: go test ./cmd/detections -run GeneratedDocs -update -->\n\n"

func settingsPage() string {
	return "# Settings\n\n" + generated + `Every setting is a flag of ` + "`detections serve`" + `, an environment variable and a
key of the YAML file named by ` + "`--config`" + `. Flags win over the environment, the environment over the file.
Sizes are written as 500MB or 8GiB, times as 90s or 10m, lists with commas.

` + settingsTable()
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString("# Errors\n\n" + generated + `One table for all doors. HTTP answers are ` + "`application/problem+json`" + ` with the same ` + "`code`" + `.
WebSocket close codes from 4000 to 4499 mean come back and resume, from 4500 to 4999 do not.
A temporary error may go away by itself.

| code | HTTP | close code | temporary | meaning |
|---|---|---|---|---|
`)
	dash := func(n int) string {
		if n == 0 {
			return "–"
		}
		return fmt.Sprint(n)
	}
	for _, e := range wire.Errors {
		temporary := ""
		if e.Temporary {
			temporary = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Code, dash(e.HTTP), dash(e.Close), temporary, e.Meaning)
	}
	return b.String()
}

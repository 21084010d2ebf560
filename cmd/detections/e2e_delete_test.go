package main_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// marked says in which files of a folder a text lies.
func marked(t *testing.T, dir, text string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it was removed meanwhile
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(text)) {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestE2EDeletedSessionsAreNotOnTheDisk looks for a text that was in the media and in the
// name of two sessions, one that has ended and one that runs, before and after DELETE.
func TestE2EDeletedSessionsAreNotOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	p := serve(t, "--data", dir)
	const text = "Zq7xK-to-be-forgotten"
	file := append(read(t, "people.mkv"), text...)
	p.upload("every=50&name="+text, file[:len(file)/2]).rest(file[len(file)/2:])
	p.upload("every=50&mode=live&name="+text, file).untilType("detections")
	a, err := http.Get(p.url + "/v1/sessions")
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Sessions []answer }
	err = json.NewDecoder(a.Body).Decode(&list)
	a.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range list.Sessions {
		ids = append(ids, s.Session)
	}
	if len(ids) != 2 || len(marked(t, dir, text)) < 2 { // the spool of one, the log of both
		t.Fatalf("sessions %q, in %v", ids, marked(t, dir, text))
	}
	for _, id := range ids {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, p.url+"/v1/sessions/"+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil || a.StatusCode != http.StatusNoContent {
			t.Fatalf("%v, err %v", a, err)
		}
		a.Body.Close()
	}
	// The store removes files a moment later.
	for limit := time.Now().Add(patience); len(marked(t, dir, text)) > 0; {
		if time.Now().After(limit) {
			t.Fatalf("it is still in %v", marked(t, dir, text))
		}
	}
}

func TestE2ENobodyElseCanReadTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, "--data", dir)
	s := p.upload("every=50&mode=live", read(t, "people.ts"))
	s.untilType("detections")
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		fi, err := d.Info()
		if n++; err == nil && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, fi.Mode())
		}
		return nil
	})
	if err != nil || n < 5 {
		t.Errorf("%d files, err %v", n, err)
	}
}

package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"detections/infer"
)

func TestAKeptVersionIsFoundAgainWhateverBecameOfItsFile(t *testing.T) {
	dir := folder(t, map[string]string{"people.onnx": "abc", "people.json": `{"version": "3", "labels": ["person"]}`})
	f, err := ReadFile(filepath.Join(dir, "people.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	k := NewKept(filepath.Join(t.TempDir(), "versions"))
	key := infer.ModelKey{SHA256: f.SHA256, Description: "123"}
	if _, err := k.Find(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("found before it was kept: %v", err)
	}
	for range 2 {
		if _, err := k.Keep(&f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.Find(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("found before it served: %v", err)
	}
	if err := k.Serves(&f, key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "people.onnx"), []byte("def"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := k.Find(key)
	if err != nil || got.Name != "people" || got.Version != "3" || string(got.Bytes) != "abc" || got.Key() != f.Key() || got.Description.Labels[0] != "person" {
		t.Errorf("found %+v, %v", got, err)
	}
	if last, err := k.Last("another"); err != nil || last.Key() != f.Key() {
		t.Errorf("last %+v, %v", last, err)
	}
	if _, err := k.Last(f.Key()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another than the only one: %v", err)
	}
	for _, why := range []string{"it fails", ""} {
		if err := k.Refuse(f.Key(), why); err != nil || k.Refused()[f.Key()] != why {
			t.Errorf("refused %v, %v", k.Refused(), err)
		}
	}
	if err := os.WriteFile(got.Path, []byte("abd"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Find(key); err == nil {
		t.Error("a damaged file is taken")
	}
}

func TestVersionsInUseAreNotCollected(t *testing.T) {
	dir := t.TempDir()
	k := NewKept(dir)
	var all []infer.ModelKey
	for i := range 10 {
		f, err := ReadFile(filepath.Join(folder(t, map[string]string{"m.onnx": fmt.Sprint(i)}), "m.onnx"))
		if err != nil {
			t.Fatal(err)
		}
		key := infer.ModelKey{SHA256: f.SHA256}
		if _, err := k.Keep(&f); err != nil {
			t.Fatal(err)
		}
		if err := k.Serves(&f, key); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-time.Duration(20-i) * 10 * time.Hour)
		if err := os.Chtimes(k.folder(&f), at, at); err != nil {
			t.Fatal(err)
		}
		all = append(all, key)
	}
	if err := k.Collect(all[:1]); err != nil {
		t.Fatal(err)
	}
	for i, key := range all {
		_, err := k.Find(key)
		if want := i == 0 || i >= 6; (err == nil) != want {
			t.Errorf("version %d: %v", i, err)
		}
	}
}

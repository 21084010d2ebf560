package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// write writes a file of a folder, as if it were so many hours after the first.
func write(t *testing.T, path, text string, hours int) {
	t.Helper()
	at := time.Date(2026, 1, 1, hours, 0, 0, 0, time.UTC)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, at, at))
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // files that settle take no time
		dir := t.TempDir()
		path := filepath.Join(dir, "people.onnx")
		s := Disk(path)
		if _, err := s.Fetch(t.Context(), "", nil); reason(err) != NotFound || !strings.Contains(err.Error(), path) {
			t.Errorf("without a file: %v", err)
		}
		write(t, path, "abc", 0)
		f, err := s.Fetch(t.Context(), "", nil)
		if err != nil || f.Name != "people" || string(f.Bytes) != "abc" {
			t.Fatalf("got %+v, %v", f, err)
		}
		have := f.Key()
		same := func(what string) {
			t.Helper()
			if _, err := s.Fetch(t.Context(), have, nil); !errors.Is(err, ErrSame) {
				t.Errorf("%s: %v", what, err)
			}
		}
		same("nothing has changed")
		write(t, path, "abc", 1)
		same("only its time has changed")
		write(t, path, "def", 1)
		if err := os.Rename(path, path+".new"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Fetch(t.Context(), have, nil); reason(err) != NotFound {
			t.Errorf("a file that is gone: %v", err)
		}
		write(t, path, "abc", 0)
		same("it is back")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if f, err = s.Fetch(t.Context(), have, nil); err != nil || string(f.Bytes) != "def" {
			t.Errorf("a file that is replaced: %q, %v", f.Bytes, err)
		}
		have = f.Key()
		write(t, filepath.Join(dir, "people.json"), `{"version": "7"}`, 0)
		if f, err = s.Fetch(t.Context(), have, nil); err != nil || f.Version != "7" {
			t.Errorf("a description that comes: %v, %v", f.Version, err)
		}
		have = f.Key()
		same("the description is known")
		write(t, filepath.Join(dir, "people.json"), `{"version": 7}`, 1)
		if _, err = s.Fetch(t.Context(), have, nil); reason(err) != Invalid || !strings.Contains(err.Error(), "version: expected string, found number") {
			t.Errorf("a bad description: %v", err)
		}
	})
}

func TestAFileThatIsBeingWrittenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "people.onnx")
		write(t, path, "abc", 0)
		s := Disk(path)
		one, err := s.Fetch(t.Context(), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for i := range 5 {
				write(t, path, strings.Repeat("x", i+1), i+1)
				time.Sleep(settle * 2 / 3)
			}
		}()
		synctest.Wait()
		f, err := s.Fetch(t.Context(), one.Key(), nil)
		if err != nil || string(f.Bytes) != "xxxxx" {
			t.Errorf("got %q, %v", f.Bytes, err)
		}
	})
}

func TestOfAFolderTheNewestModelIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := Disk(dir)
		if _, err := s.Fetch(t.Context(), "", nil); reason(err) != NotFound || !strings.Contains(err.Error(), "expected a file *.onnx in "+dir) {
			t.Errorf("an empty folder: %v", err)
		}
		have := ""
		take := func(wantText, wantVersion string) {
			t.Helper()
			f, err := s.Fetch(t.Context(), have, nil)
			if err != nil || string(f.Bytes) != wantText || wantVersion != "" && f.Version != wantVersion {
				t.Fatalf("got %q %s, %v", f.Bytes, f.Version, err)
			}
			have = f.Key()
		}
		write(t, filepath.Join(dir, "people-1.onnx"), "one", 5)
		write(t, filepath.Join(dir, "people-2.onnx"), "two", 5) // the later name
		write(t, filepath.Join(dir, "people-3.onnx"), "old", 4)
		write(t, filepath.Join(dir, ".people.onnx.part"), "part", 9)
		write(t, filepath.Join(dir, "notes.txt"), "notes", 9)
		write(t, filepath.Join(dir, "mixed", "a.onnx"), "a", 9)
		write(t, filepath.Join(dir, "mixed", "b.onnx"), "b", 9)
		take("two", "")
		write(t, filepath.Join(dir, "2026-11", "people.onnx"), "versioned", 6)
		take("versioned", "2026-11")
		write(t, filepath.Join(dir, "elsewhere", "x.dat"), "linked", 7)
		if err := os.Symlink(filepath.Join(dir, "elsewhere", "x.dat"), filepath.Join(dir, "link.onnx")); err != nil {
			t.Fatal(err)
		}
		take("linked", "")
		if err := os.RemoveAll(filepath.Join(dir, "link.onnx")); err != nil {
			t.Fatal(err)
		}
		take("versioned", "2026-11")
	})
}

func TestTheEmbeddedModelIsASource(t *testing.T) {
	f, err := EmbeddedSource().Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := EmbeddedSource().Fetch(t.Context(), f.Key(), nil); !errors.Is(err, ErrSame) {
		t.Errorf("err = %v", err)
	}
}

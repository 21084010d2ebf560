package timeline

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"detections/session/wire"
)

// lies says in how many files of a directory a text lies.
func lies(t *testing.T, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it was removed meanwhile
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(text)) {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnErasedSessionIsInNoFile looks at the disk: records in the log, in young tables
// and in old ones, beside those of another session.
func TestAnErasedSessionIsInNoFile(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPebble(dir, Options{ballast: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const secret, kept = "Zq7xK-marker-of-the-erased", "Jw3pL-marker-of-the-kept"
	for id, marker := range map[string]string{"a": kept, "b": secret, "c": kept} {
		must(t, p.Create(t.Context(), Meta{ID: id, Principal: marker}))
		st, err := p.Acquire(t.Context(), id)
		must(t, err)
		for n := range uint64(60) {
			must(t, p.Append(t.Context(), id, st.Term, n, Record{Event: wire.Event{Offset: n + 1, Type: wire.TypeDetections, Message: []byte(`{"x":"` + marker + `"}`)}}))
			switch n {
			case 20:
				must(t, p.db.Compact(t.Context(), []byte{0}, []byte{0xff}, false))
			case 40:
				must(t, p.db.Flush())
			}
		}
	}
	if lies(t, dir, secret) == 0 {
		t.Fatal("the marker is not even there before")
	}
	must(t, p.Delete(t.Context(), "b"))
	must(t, p.Erase(t.Context(), "b"))
	// Pebble removes files in the background.
	for limit := time.Now().Add(10 * time.Second); lies(t, dir, secret) > 0; {
		if time.Now().After(limit) {
			t.Fatalf("it is in %d files", lies(t, dir, secret))
		}
	}
	if lies(t, dir, kept) == 0 {
		t.Error("the others are gone too")
	}
	if recs, err := p.Read(t.Context(), "a", 0, 100); err != nil || len(recs) != 60 {
		t.Errorf("another session has %d records, err %v", len(recs), err)
	}
	must(t, p.Erase(t.Context(), "never there"))
}

func TestErasingDoesNotHoldUpClose(t *testing.T) {
	p, err := OpenPebble(t.TempDir(), Options{ballast: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	must(t, p.Close())
	if err := p.Erase(t.Context(), "a"); err == nil {
		t.Error("a closed store erases")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Package mediatest is the tests that every media.Decoder must pass, and helpers
// for tests that need media files or decoders.
package mediatest

import (
	"os"
	"path/filepath"
	"testing"
)

// Path is the path of a test file. The files are made by `make test`.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("DETECTIONS_TEST_MEDIA")
	if dir == "" {
		t.Fatal("DETECTIONS_TEST_MEDIA is not set: `make test` makes the test media and sets it")
	}
	return filepath.Join(dir, name)
}

// Open opens a test file, and tells its size.
func Open(t testing.TB, name string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, fi.Size()
}

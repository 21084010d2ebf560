package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func create(t *testing.T) (*Spool, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uploads", "a.mp4")
	s, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, path
}

func appendAll(t *testing.T, s *Spool, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if err := s.Append([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBytesAreReadableWhileGrowing(t *testing.T) {
	s, _ := create(t)
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []byte
	for _, part := range []string{"one ", "two ", "three"} {
		appendAll(t, s, part)
		b := make([]byte, s.Size()-int64(len(got)))
		if _, err := f.ReadAt(b, int64(len(got))); err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	if string(got) != "one two three" {
		t.Errorf("read %q", got)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("the reader's file can be written")
	}
}

func TestFinishIsDurableAndKnowsTheHash(t *testing.T) {
	s, path := create(t)
	appendAll(t, s, "hello ", "world")
	sum, err := s.Finish()
	if err != nil || sum != sha256.Sum256([]byte("hello world")) || s.Synced() != 11 {
		t.Errorf("sum %x, synced %d, err %v", sum, s.Synced(), err)
	}
	if err := s.Append([]byte("!")); !errors.Is(err, ErrFinished) {
		t.Errorf("append after finish: %v", err)
	}
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: mode %v, err %v", name, fi.Mode(), err)
		}
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
}

func TestAppendsDuringASyncShareTheNextOne(t *testing.T) {
	var syncs int
	begin, end := make(chan struct{}), make(chan struct{})
	f, _ := os.CreateTemp(t.TempDir(), "")
	s := start("", f, func(*os.File) error { syncs++; begin <- struct{}{}; <-end; return nil })
	appendAll(t, s, "a")
	<-begin
	for range 100 {
		appendAll(t, s, "b")
	}
	if s.Synced() != 0 || s.Size() != 101 {
		t.Errorf("during the sync: synced %d, size %d", s.Synced(), s.Size())
	}
	end <- struct{}{}
	<-s.Changed()
	if s.Synced() != 1 {
		t.Errorf("what was appended during a sync counts as durable: %d", s.Synced())
	}
	<-begin
	end <- struct{}{}
	if _, err := s.Finish(); err != nil || syncs != 2 || s.Synced() != 101 {
		t.Errorf("%d syncs, synced %d, err %v", syncs, s.Synced(), err)
	}
	s.Close()
}

func TestNothingIsDurableAfterAFailedSync(t *testing.T) {
	f, _ := os.CreateTemp(t.TempDir(), "")
	failed := false
	s := start("", f, func(*os.File) error {
		if failed {
			return nil // as the kernel does: an error is reported once
		}
		failed = true
		return unix.EIO
	})
	appendAll(t, s, "lost")
	<-s.Changed()
	if err := s.Err(); !errors.Is(err, ErrSync) || !errors.Is(err, unix.EIO) {
		t.Errorf("err %v", err)
	}
	if err := s.Append([]byte("more")); !errors.Is(err, ErrSync) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Finish(); !errors.Is(err, ErrSync) || s.Synced() != 0 {
		t.Errorf("finish: %v, synced %d", err, s.Synced())
	}
	s.Close()
}

func TestFullDiskTakesNothingAndCanBeTriedAgain(t *testing.T) {
	s, _ := create(t)
	appendAll(t, s, "kept ")
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	good := s.out
	s.out = full // space runs out
	if err := s.Append([]byte("twice")); !errors.Is(err, ErrFull) || s.Size() != 5 {
		t.Errorf("err %v, size %d", err, s.Size())
	}
	s.out = good // and comes back
	full.Close()
	appendAll(t, s, "twice")
	if sum, err := s.Finish(); err != nil || sum != sha256.Sum256([]byte("kept twice")) {
		t.Errorf("sum %x, err %v", sum, err)
	}
}

func TestOpenContinuesWhatWasAcknowledged(t *testing.T) {
	s, path := create(t)
	appendAll(t, s, "acknowledged, and a torn tail")
	s.Close()
	s, err := Open(path, 12)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Size() != 12 || s.Synced() != 12 {
		t.Errorf("size %d, synced %d", s.Size(), s.Synced())
	}
	appendAll(t, s, "!")
	if sum, err := s.Finish(); err != nil || sum != sha256.Sum256([]byte("acknowledged!")) {
		t.Errorf("sum %x, err %v", sum, err)
	}
	if got, _ := os.ReadFile(path); string(got) != "acknowledged!" {
		t.Errorf("on disk: %q", got)
	}
	if _, err := Open(path, 14); !errors.Is(err, ErrShort) {
		t.Errorf("a shorter file: %v", err)
	}
}

func TestBytesThatComeWhileOldOnesAreHashedAreInTheHash(t *testing.T) {
	s, path := create(t)
	old := bytes.Repeat([]byte("0123456789abcdef"), 3*catchUpStep/16+7)
	appendAll(t, s, string(old))
	s.Close()
	for range 3 {
		s, err := Open(path, int64(len(old)))
		if err != nil {
			t.Fatal(err)
		}
		for _, more := range []string{"a", "bc"} { // the first surely during the catching up
			appendAll(t, s, more)
			old = append(old, more...)
		}
		if sum, err := s.Finish(); err != nil || sum != sha256.Sum256(old) {
			t.Errorf("sum %x, err %v", sum, err)
		}
		s.Close()
	}
	s, err := Open(path, int64(len(old)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // nobody asked for the hash
		t.Error(err)
	}
}

func TestMemoryHasNoFile(t *testing.T) {
	s, err := Memory("picture")
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("pixels"), 10_000)
	appendAll(t, s, string(want))
	if _, err := s.Finish(); err != nil || s.Synced() != s.Size() {
		t.Errorf("synced %d of %d, err %v", s.Synced(), s.Size(), err)
	}
	f, err := s.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.Close()
	if got, _ := io.ReadAll(f); !bytes.Equal(got, want) {
		t.Errorf("read %d bytes", len(got))
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	s, err := Memory("allocs")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	chunk := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() { _ = s.Append(chunk) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	s, err := Create(filepath.Join(b.TempDir(), "x"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	chunk := make([]byte, 64<<10)
	b.SetBytes(int64(len(chunk)))
	b.ReportAllocs()
	for b.Loop() {
		if s.Size() > 256<<20 {
			s.size.Store(0) // do not fill the disk
		}
		if err := s.Append(chunk); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSyncsKeepTheirDistanceAndTheLastOneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		f, _ := os.CreateTemp(t.TempDir(), "")
		s := start("", f, func(*os.File) error { at = append(at, time.Now()); return nil })
		s.SyncEvery(time.Hour)
		begun := time.Now()
		appendAll(t, s, "a")
		<-s.Changed()
		appendAll(t, s, "b")
		<-s.Changed()
		appendAll(t, s, "c")
		if err := s.Close(); err != nil || s.Synced() != 3 {
			t.Errorf("synced %d, err %v", s.Synced(), err)
		}
		if len(at) != 3 || at[1].Sub(at[0]) != time.Hour || !at[2].Equal(at[1]) || !at[0].Equal(begun) {
			t.Errorf("synced at %v", at)
		}
	})
}

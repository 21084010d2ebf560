// Package spool keeps an upload's bytes durably, readable while still growing,
// and hashes them as they pass.
//
// A [Spool] has two lengths: Size, what was appended and can be read, and Synced,
// what survives a power cut. One goroutine syncs whenever there is something to
// sync, so bytes that arrive during a sync share the next one (group commit), and no
// sooner than its owner has use for that (SyncEvery). What
// an acknowledgement is, the caller decides; Synced only ever grows.
//
// The one rule: after a failed sync nothing counts as durable any more. The kernel
// reports a lost page once and then forgets it, so a second try that succeeds
// proves nothing.
package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What can go wrong with storage, to be told apart with errors.Is.
var (
	ErrFull     = errors.New("no space left for uploads") // bytes were not taken; space may come back
	ErrSync     = errors.New("upload could not be made durable")
	ErrShort    = errors.New("upload on disk is shorter than what was acknowledged")
	ErrFinished = errors.New("upload is already complete")
)

// Sum is the SHA-256 of an upload.
type Sum = [sha256.Size]byte

// Spool is one upload. Append and Finish may be called from one goroutine at a
// time, everything else from any.
type Spool struct {
	// Static after construction.
	path    string // empty: in memory
	file    *os.File
	out     io.WriterAt // file, except in tests
	sync    func(*os.File) error
	changed chan struct{}
	dirty   chan struct{}
	over    chan struct{} // closed when nothing more comes
	stopped chan struct{}

	rest   atomic.Int64 // time between two syncs, ns
	size   atomic.Int64 // written
	synced atomic.Int64 // durable

	mu       sync.Mutex
	finished bool  // guarded by mu: dirty is closed
	closing  bool  // guarded by mu: nobody asks for the hash any more
	err      error // guarded by mu: the first failed sync

	// Guarded by mu, except while caughtUp is open: then catchUp owns them.
	hash     hash.Hash
	hashed   int64         // bytes in hash
	caughtUp chan struct{} // closed when hash has all bytes
}

// Create makes a new file, and its folder if need be. Only this user can read them.
func Create(path string) (*Spool, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create spool: %w", typed(err))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // G304: the hub names the file, no client does
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", typed(err))
	}
	return start(path, f, syncNew(path)), nil
}

// Open takes up a file again after a restart. keep is the length that was
// acknowledged: what lies beyond it is cut off, because after a power cut it can be
// anything. Its bytes are hashed in the background, before those that are appended.
func Open(path string, keep int64) (*Spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // G304: as in Create
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := cut(f, keep); err != nil {
		return nil, errors.Join(fmt.Errorf("open spool: %w", err), f.Close())
	}
	s := newSpool(path, f, syncData)
	s.size.Store(keep)
	s.synced.Store(keep)
	s.caughtUp = make(chan struct{})
	go s.catchUp()
	go s.syncLoop()
	return s, nil
}

func cut(f *os.File, keep int64) error {
	st, err := f.Stat()
	switch {
	case err != nil:
		return err
	case st.Size() < keep:
		return fmt.Errorf("%w: %d of %d bytes", ErrShort, st.Size(), keep)
	}
	return f.Truncate(keep)
}

// catchUpStep is how much catchUp reads before it looks whether it is still wanted.
const catchUpStep = 4 << 20

// catchUp hashes what is in the file until nothing is left of it.
func (s *Spool) catchUp() {
	for !s.hasCaughtUp() {
		n, err := io.Copy(s.hash, io.NewSectionReader(s.file, s.hashed, min(catchUpStep, s.size.Load()-s.hashed)))
		s.hashed += n
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			s.mu.Lock()
			s.err = fmt.Errorf("%w: reading it again: %w", ErrSync, err)
			s.mu.Unlock()
		}
	}
}

// hasCaughtUp ends the catching up once nothing is left, or nobody wants it.
func (s *Spool) hasCaughtUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	over := s.hashed == s.size.Load() || s.err != nil || s.closing
	if over {
		close(s.caughtUp)
	}
	return over
}

// Memory makes a spool without a file, for a picture: nothing of it is durable,
// and Synced follows Size. name is for humans only.
func Memory(name string) (*Spool, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", typed(err))
	}
	return start("", os.NewFile(uintptr(fd), name), func(*os.File) error { return nil }), nil
}

func newSpool(path string, f *os.File, sync func(*os.File) error) *Spool {
	return &Spool{
		path: path, file: f, out: f, sync: sync, hash: sha256.New(),
		changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1), over: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// start runs a new spool.
func start(path string, f *os.File, sync func(*os.File) error) *Spool {
	s := newSpool(path, f, sync)
	s.caughtUp = make(chan struct{})
	close(s.caughtUp)
	go s.syncLoop()
	return s
}

// Append writes p at the end: all of it or, with an error, nothing. It does not
// wait for the disk and allocates nothing. After ErrFull the same bytes can be
// tried again.
func (s *Spool) Append(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.finished {
		return ErrFinished
	}
	size := s.size.Load()
	if _, err := s.out.WriteAt(p, size); err != nil {
		// Whatever part was written lies beyond Size: nobody reads it, the next
		// Append overwrites it, and Open cuts it off.
		return fmt.Errorf("append to spool: %w", typed(err))
	}
	select {
	case <-s.caughtUp:
		s.hash.Write(p)
	default: // catchUp comes to it
	}
	s.size.Store(size + int64(len(p)))
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	return nil
}

// Size is how many bytes were appended. They can be read.
func (s *Spool) Size() int64 { return s.size.Load() }

// Synced is how many bytes are durable.
func (s *Spool) Synced() int64 { return s.synced.Load() }

// Changed receives after Synced has grown or Err was set; several changes can be
// one receive.
func (s *Spool) Changed() <-chan struct{} { return s.changed }

// Err is why nothing can become durable any more, or nil. It wraps ErrSync.
func (s *Spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Flush says that nothing more comes, and waits until everything is durable.
func (s *Spool) Flush() error {
	s.stop()
	<-s.stopped
	return s.Err()
}

// Finish is Flush that returns the hash of everything.
func (s *Spool) Finish() (Sum, error) {
	_ = s.Flush() // the error is looked at below
	<-s.caughtUp
	s.mu.Lock()
	defer s.mu.Unlock()
	return Sum(s.hash.Sum(nil)), s.err
}

// Sum is the hash of what was appended so far. It is not ok while an opened file is
// still being hashed.
func (s *Spool) Sum() (sum Sum, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.caughtUp:
		return Sum(s.hash.Sum(nil)), true
	default:
		return sum, false
	}
}

// File opens the bytes for reading only, for a decoder process. The caller closes it.
func (s *Spool) File() (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", s.file.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open spool for reading: %w", err)
	}
	return f, nil
}

// Close syncs what is left and lets go of the file, which stays where it is.
func (s *Spool) Close() error {
	err := s.Flush()
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	<-s.caughtUp
	return errors.Join(err, s.file.Close())
}

// Remove deletes the file. Whoever has it open can still read it.
func (s *Spool) Remove() error {
	if s.path == "" {
		return nil
	}
	return os.Remove(s.path)
}

func (s *Spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.finished {
		s.finished = true
		close(s.dirty)
		close(s.over)
	}
}

// SyncEvery lets so much time pass between two syncs, for bytes whose sender does not
// wait until they are durable. At the end it makes no difference.
func (s *Spool) SyncEvery(d time.Duration) { s.rest.Store(int64(d)) }

// syncLoop makes bytes durable whenever there are any, and once more at the end.
func (s *Spool) syncLoop() {
	defer close(s.stopped)
	for range s.dirty {
		if !s.syncOnce() {
			return
		}
		if d := time.Duration(s.rest.Load()); d > 0 {
			select {
			case <-time.After(d):
			case <-s.over:
			}
		}
	}
	s.syncOnce()
}

func (s *Spool) syncOnce() bool {
	size := s.size.Load() // before the sync: what is written during it may not be covered
	if size == s.synced.Load() {
		return true
	}
	err := s.sync(s.file)
	if err != nil {
		s.mu.Lock()
		s.err = fmt.Errorf("%w: %w", ErrSync, typed(err))
		s.mu.Unlock()
	} else {
		s.synced.Store(size)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return err == nil
}

// syncData makes the bytes and the length durable, without the time stamps.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// syncNew is syncData for a file that was just made: before its first bytes can
// count as durable, its name must be.
func syncNew(path string) func(*os.File) error {
	named := false
	return func(f *os.File) error {
		if !named {
			if err := syncFolder(filepath.Dir(path)); err != nil {
				return err
			}
			named = true
		}
		return syncData(f)
	}
}

func syncFolder(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // G304: as in Create
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// typed marks the errors that mean a full disk or an exceeded quota.
func typed(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

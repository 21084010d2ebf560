package timeline

import (
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// slowDisk is how long a sync of the log takes until it is worth a warning.
const slowDisk = 2 * time.Second

// retryTable is how long writing tables pauses after it failed; without a pause
// Pebble would try again at once and for ever.
const retryTable = time.Second

// files stands between Pebble and the file system, for two reasons.
//
// It decides when the log is synced: on every write, or some time later, when Pebble
// hands a write to the operating system and goes on.
//
// And it keeps errors of the log from Pebble, which would panic with its locks held.
// The first such error is kept in broken, the log is written no more, and Pebble is
// told that all is well: everybody who writes asks for broken afterwards, so nothing
// that came later is acknowledged, and whatever was acknowledged is on disk. An error
// of the manifest is never returned while the store is open, because Pebble would
// exit; the flush that met it waits for Close. Other errors are Pebble's to retry.
type files struct {
	vfs.FS
	logDir string
	always bool
	log    *slog.Logger
	onSync func(time.Duration)
	closed chan struct{} // no more waiting

	armed    atomic.Bool // false while opening: errors go to the caller of OpenPebble
	failed   atomic.Pointer[error]
	begun    time.Time
	unsound  atomic.Int64 // until when no table is written, in ns after begun
	later    *time.Timer  // of the next sync, with Sync Interval
	due      atomic.Int64 // when later ends, in ns after begun; 0: it does not run
	interval time.Duration

	mu      sync.Mutex
	current *logFile // the log that is written, guarded by mu
}

func newFiles(inner vfs.FS, dir string, o Options) *files {
	f := &files{
		FS: inner, logDir: filepath.Clean(dir), always: o.Sync == Always, log: o.Logger,
		onSync: o.OnSync, closed: make(chan struct{}), begun: time.Now(), interval: o.Interval, later: time.NewTimer(o.Interval),
	}
	f.later.Stop()
	return f
}

// syncWithin lets the next sync be so many intervals away, or sooner. Waking somebody
// who would then wait would cost as much as an append.
func (f *files) syncWithin(intervals int) {
	if f.always {
		return
	}
	wait := time.Duration(intervals) * f.interval
	due := int64(time.Since(f.begun) + wait)
	for {
		planned := f.due.Load()
		if planned != 0 && planned <= due {
			return
		}
		if f.due.CompareAndSwap(planned, due) {
			f.later.Reset(wait)
			return
		}
	}
}

// broken is the error after which nothing is stored any more, nil if all is well.
func (f *files) broken() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *files) fail(err error) {
	err = errors.Join(ErrStorage, err)
	if f.failed.CompareAndSwap(nil, &err) {
		f.log.Error("the timeline store failed, nothing more is accepted until a restart", "err", err)
	}
}

// sync returns when everything that was written to the log before is on disk.
func (f *files) sync() error {
	f.mu.Lock()
	l := f.current
	f.mu.Unlock()
	if l != nil {
		l.sync()
	}
	return f.broken()
}

// Create implements vfs.FS.
func (f *files) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if f.isLog(name) {
		return f.newLog(func() (vfs.File, error) { return f.FS.Create(name, category) })
	}
	f.pause()
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, f.met(name, err)
	}
	return &guarded{File: file, files: f, name: name}, nil
}

// ReuseForWrite implements vfs.FS.
func (f *files) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.newLog(func() (vfs.File, error) { return f.FS.ReuseForWrite(oldname, newname, category) })
}

// newLog opens the log that follows the current one. Once the store is broken that
// is nothing on disk: a log that may have a torn end must stay the last one.
func (f *files) newLog(open func() (vfs.File, error)) (vfs.File, error) {
	file := vfs.NewMemFile(nil)
	if f.broken() == nil {
		opened, err := open()
		if err != nil && !f.armed.Load() {
			return nil, err
		}
		if err != nil {
			f.fail(err)
		} else {
			file = opened
		}
	}
	l := &logFile{File: file, files: f}
	f.mu.Lock()
	f.current = l
	f.mu.Unlock()
	return l, nil
}

// OpenDir implements vfs.FS.
func (f *files) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err == nil && filepath.Clean(name) == f.logDir {
		return &logDir{File: d, files: f}, nil
	}
	return d, err
}

// GetDiskUsage implements vfs.FS. Pebble can do without, and would count an error as
// one of writing.
func (f *files) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	usage, err := f.FS.GetDiskUsage(path)
	if err != nil {
		return usage, vfs.ErrUnsupported
	}
	return usage, nil
}

func (f *files) isLog(name string) bool { return filepath.Dir(name) == f.logDir }

func isManifest(name string) bool {
	base := filepath.Base(name)
	return strings.HasPrefix(base, "MANIFEST-") || strings.HasPrefix(base, "marker.")
}

// met is what becomes of an error of a file that is no log.
func (f *files) met(name string, err error) error {
	switch {
	case !f.armed.Load():
	case isManifest(name):
		f.fail(err)
		<-f.closed
	default:
		f.unsound.Store(int64(time.Since(f.begun) + retryTable))
	}
	return err
}

// pause waits until tables may be written again.
func (f *files) pause() {
	wait := time.Duration(f.unsound.Load()) - time.Since(f.begun)
	if wait <= 0 || !f.armed.Load() {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.closed:
	}
}

// logFile is a log of Pebble's. Pebble writes and closes it from one goroutine at a
// time; sync may be called by anybody.
type logFile struct {
	vfs.File
	files   *files
	written atomic.Int64

	mu     sync.Mutex // held while syncing
	synced int64
	closed bool
}

// Write implements vfs.File.
func (l *logFile) Write(p []byte) (int, error) {
	if l.files.broken() != nil {
		return len(p), nil
	}
	n, err := l.File.Write(p)
	l.written.Add(int64(n))
	if err != nil {
		l.files.fail(err)
	}
	return len(p), nil
}

// Sync implements vfs.File.
func (l *logFile) Sync() error { return l.SyncData() }

// SyncData implements vfs.File.
func (l *logFile) SyncData() error {
	if l.files.always {
		l.sync()
		return nil
	}
	return nil // who appends says when
}

// SyncTo implements vfs.File.
func (l *logFile) SyncTo(int64) (bool, error) { return false, nil }

// Preallocate implements vfs.File. It is worth an attempt, no more.
func (l *logFile) Preallocate(offset, length int64) error {
	_ = l.File.Preallocate(offset, length)
	return nil
}

// Close implements vfs.File.
func (l *logFile) Close() error {
	l.sync() // a log that has a successor must be whole, or the next start refuses both
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.File.Close()
}

func (l *logFile) sync() {
	target := l.written.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.synced >= target || l.closed || l.files.broken() != nil {
		return
	}
	begin := time.Now()
	slow := time.AfterFunc(slowDisk, func() {
		l.files.log.Warn("the disk is slow: a sync of the timeline store is still waiting", "dur", slowDisk)
	})
	target = l.written.Load() // of everybody who waited for the lock
	err := l.File.SyncData()
	took := time.Since(begin)
	if !slow.Stop() {
		l.files.log.Warn("the disk was slow: a sync of the timeline store", "dur", took)
	}
	if l.files.onSync != nil {
		l.files.onSync(took)
	}
	if err != nil {
		l.files.fail(err) // what the kernel did with the pages is unknown: no second try
		return
	}
	l.synced = target
}

// logDir is the directory of the logs.
type logDir struct {
	vfs.File
	files *files
}

// Sync implements vfs.File.
func (d *logDir) Sync() error {
	err := d.File.Sync()
	if err == nil || !d.files.armed.Load() {
		return err
	}
	d.files.fail(err)
	return nil
}

// guarded is a file that is no log.
type guarded struct {
	vfs.File
	files *files
	name  string
}

// Write implements vfs.File.
func (g *guarded) Write(p []byte) (int, error) {
	n, err := g.File.Write(p)
	if err != nil {
		err = g.files.met(g.name, err)
	}
	return n, err
}

// Sync implements vfs.File.
func (g *guarded) Sync() error { return g.sync(g.File.Sync) }

// SyncData implements vfs.File.
func (g *guarded) SyncData() error { return g.sync(g.File.SyncData) }

func (g *guarded) sync(how func() error) error {
	err := how()
	if err != nil {
		err = g.files.met(g.name, err)
	}
	return err
}

// ballast is a file that only takes room. When the disk is full it is given up, so
// that what was accepted can still be written.
type ballast struct {
	fs   vfs.FS
	path string
	size int64
}

// take allocates the ballast; ErrFull if there is no room for it and as much again.
func (b ballast) take() error {
	if _, err := b.fs.Stat(b.path); err == nil {
		return nil
	}
	room, err := b.fs.GetDiskUsage(b.fs.PathDir(b.path))
	if err == nil && room.AvailBytes < 2*uint64(b.size) {
		return ErrFull
	}
	f, err := b.fs.Create(b.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err = f.Preallocate(0, b.size); err == nil || errors.Is(err, syscall.EOPNOTSUPP) {
		return f.Close()
	}
	_ = f.Close()
	b.drop()
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ErrFull
	}
	return err
}

// drop gives the room back. There may be no ballast; more cannot be done.
func (b ballast) drop() { _ = b.fs.Remove(b.path) }

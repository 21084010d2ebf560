package timeline

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What a Store on a disk meets beside what a Store refuses.
var (
	// ErrFull: the disk is full. What was accepted is safe; sessions can be read and
	// deleted, and what is refused is accepted again when there is room.
	ErrFull = errors.New("timeline: the disk is full")
	// ErrStorage: the disk failed. What was accepted is safe as far as the disk is; if
	// it was the log, everything is refused until the store is opened again.
	ErrStorage = errors.New("timeline: the disk failed")
)

// Sync says when appended records are on disk.
type Sync int

const (
	// Interval hands a record to the operating system before Append returns, and
	// syncs a little later: no end of the process loses anything, a power cut about
	// the last Options.Interval, and ten times that of records that are made again.
	Interval Sync = iota
	// Always syncs before Append returns; appends that wait at the same time share one.
	Always
)

// Options are the settings of a store on disk.
type Options struct {
	Sync Sync
	// Interval is how long a record waits for a sync under Sync Interval; default 10 ms.
	Interval time.Duration
	// OnSync is told how long each sync of the log took; it must not block. nil: nobody is.
	OnSync func(time.Duration)
	Logger *slog.Logger // nil: none

	fs      vfs.FS // nil: the operating system's
	ballast int64  // bytes; 0: ballastSize
}

const (
	// ballastSize is what is kept free for a full disk: two memory tables on their
	// way to disk, the log behind each, and room to delete sessions.
	ballastSize  = 32 << 20
	ballastRetry = time.Second
	cacheSize    = 8 << 20
	memTableSize = 4 << 20
	tableBlock   = 16 << 10
	readChunk    = 32 << 10
)

// Pebble is a Store in a directory, kept by a log-structured merge tree. What
// changes a session is in memory too, so appending reads nothing from disk.
type Pebble struct {
	db      *pebble.DB
	files   *files
	ballast ballast
	log     *slog.Logger
	done    chan struct{} // closed by Close
	wg      sync.WaitGroup

	full     atomic.Bool
	noRoom   chan struct{} // holds one value when full was set
	erasures chan erasure
	troubled atomic.Pointer[error] // the last table could not be written

	life   sync.RWMutex // held, shared, by everybody who uses db
	closed bool         // guarded by life

	mu       sync.RWMutex // never held while the disk works
	sessions map[string]*pebbleSession
}

type pebbleSession struct {
	writing sync.Mutex // held by whoever changes the session, while the disk works
	extra   []byte     // fields of a later schema; guarded by writing

	mu    sync.Mutex // for a moment only
	st    Status     // what is stored
	alive bool       // created, and not deleted
}

func (s *pebbleSession) status() (Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive {
		return Status{}, ErrUnknown
	}
	return s.st, nil
}

func (s *pebbleSession) set(st Status, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st, s.alive = st, alive
}

// enter lets the caller use the database until it leaves.
func (p *Pebble) enter() (leave func(), err error) {
	p.life.RLock()
	if p.closed {
		p.life.RUnlock()
		return nil, ErrClosed
	}
	return p.life.RUnlock, nil
}

func (p *Pebble) get(id string) (*pebbleSession, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s := p.sessions[id]; s != nil {
		return s, nil
	}
	return nil, ErrUnknown
}

// accepting says whether there is room for more.
func (p *Pebble) accepting() error {
	if p.full.Load() {
		return ErrFull
	}
	if err := p.troubled.Load(); err != nil {
		return *err
	}
	return nil
}

// lazily is how many intervals records wait that are made again after a power cut. Each
// sync costs an engine beside it a hundredth of a frame or two.
const lazily = 10

// durability is how far a change has to get before it is acknowledged.
type durability int

const (
	whenever  durability = iota // may be lost if the process is killed
	again                       // as Options.Sync says of records that are made again
	asAppends                   // as Options.Sync says
	onDisk                      // synced
)

// apply writes a batch.
func (p *Pebble) apply(b *pebble.Batch, d durability) error {
	if err := p.files.broken(); err != nil {
		return err
	}
	how := pebble.Sync // Pebble waits for files, which decides what that means
	if d == whenever {
		how = pebble.NoSync
	}
	if err := p.db.Apply(b, how); err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	switch d {
	case onDisk:
		return p.files.sync()
	case asAppends:
		p.files.syncWithin(1)
	case again:
		p.files.syncWithin(lazily)
	case whenever:
	}
	return p.files.broken()
}

// change lets f check a session and put what changes it into a batch; then the
// batch is written, and what f made of the status holds.
func (p *Pebble) change(id string, d durability, f func(*pebbleSession, *Status, *pebble.Batch) error) (Status, error) {
	leave, err := p.enter()
	if err != nil {
		return Status{}, err
	}
	defer leave()
	s, err := p.get(id)
	if err != nil {
		return Status{}, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	st, err := s.status()
	if err != nil {
		return Status{}, err
	}
	b := p.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := f(s, &st, b); err != nil {
		return Status{}, err
	}
	if b.Empty() {
		return st, nil
	}
	if err := p.apply(b, d); err != nil {
		return Status{}, err
	}
	s.set(st, true)
	return st, nil
}

// putState puts a session's state into a batch.
func putState(s *pebbleSession, st *Status, b *pebble.Batch) error {
	return b.Set(appendKey(nil, keyState, st.ID), appendState(nil, st, s.extra), nil)
}

// Close implements Store. What was accepted is on disk when it returns.
func (p *Pebble) Close() error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	close(p.done)
	close(p.files.closed)
	p.wg.Wait()
	err := p.db.Close()
	if err != nil {
		return fmt.Errorf("close timeline store: %w", err)
	}
	return nil
}

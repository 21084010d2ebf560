package timeline

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrVersion is for a store of a later schema than this program can read.
var ErrVersion = errors.New("timeline: the store is of a later version")

// OpenPebble opens the store in a directory, and makes it if there is none. One
// process at a time can have it open. ErrVersion.
func OpenPebble(dir string, o Options) (*Pebble, error) {
	o.Interval = cmp.Or(o.Interval, 10*time.Millisecond)
	o.ballast = cmp.Or(o.ballast, ballastSize)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	disk := o.fs
	if disk == nil {
		disk = vfs.Default
	}
	p := &Pebble{
		ballast:  ballast{disk, disk.PathJoin(dir, "ballast"), o.ballast},
		log:      o.Logger,
		done:     make(chan struct{}),
		noRoom:   make(chan struct{}, 1),
		erasures: make(chan erasure),
		sessions: map[string]*pebbleSession{},
	}
	logs := disk.PathJoin(dir, logFolder)
	p.files = newFiles(vfs.OnDiskFull(disk, p.onFull), logs, o)
	var err error
	if p.db, err = pebble.Open(dir, p.settings(disk)); err != nil {
		return nil, fmt.Errorf("open timeline store: %w", err)
	}
	if err = errors.Join(p.files.broken(), p.checkSchema(), p.load()); err != nil {
		close(p.files.closed)
		return nil, fmt.Errorf("open timeline store: %w", errors.Join(err, p.db.Close()))
	}
	if err = p.ballast.take(); err != nil {
		p.setFull()
	}
	p.files.armed.Store(true)
	p.wg.Go(p.keepRoom)
	p.wg.Go(p.erase)
	if o.Sync == Interval {
		p.wg.Go(p.keepSynced)
	}
	return p, nil
}

// logFolder is where the logs are in the store's directory.
const logFolder = "log"

// settings are chosen for a modest store beside an engine that needs the cores.
func (p *Pebble) settings(disk vfs.FS) *pebble.Options {
	o := &pebble.Options{
		FS: p.files,
		// Relative, so that the data directory can be moved.
		WALDir: pebble.MakeStoreRelativePath(disk, logFolder),
		Logger: pebbleLog{p},
		// Formats after this one write into the log how much of it was synced, and
		// refuse it if that turns out untrue after a power cut: with Sync Interval
		// Pebble does not know.
		FormatMajorVersion:          pebble.FormatColumnarBlocks,
		CacheSize:                   cacheSize,
		MemTableSize:                memTableSize,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		FlushDelayDeleteRange:       10 * time.Second,
		Cleaner:                     cleaner{},
		MaxOpenFiles:                256,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			BackgroundError: p.couldNotWrite,
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				p.log.Error("the timeline store has a damaged file", "err", i.Details, "file", i.Path)
			},
			FlushEnd:      func(i pebble.FlushInfo) { p.wrote(i.Err) },
			CompactionEnd: func(i pebble.CompactionInfo) { p.wrote(i.Err) },
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
				p.log.Warn("the timeline store has to catch up", "reason", i.Reason)
			},
		},
	}
	// The usual one looks every 100 ms whether more compactions may run than before: most of
	// what an idle hub used, 50 wake-ups and 1.1 ms of a processor a second. Here it is one
	// at any time, and the next begins when that is done.
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	o.Levels[0].BlockSize = tableBlock
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return o
}

// pebbleLog takes Pebble's own lines.
type pebbleLog struct{ p *Pebble }

func (l pebbleLog) Infof(format string, args ...any) {
	l.p.log.Debug("pebble", "line", fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.p.log.Warn("pebble", "line", fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble would exit. It returns: from now on everything is refused.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.p.files.fail(fmt.Errorf(format, args...))
}

// couldNotWrite is called when no table could be written. Until one can, nothing more
// is accepted: Pebble would keep it in memory, and block once that is too much.
func (p *Pebble) couldNotWrite(err error) {
	p.log.Warn("the timeline store accepts nothing until it has written a table", "err", err)
	p.troubled.Store(new(fmt.Errorf("%w: %w", ErrStorage, err)))
}

// wrote is called for every attempt; one with nothing to write has an error too.
func (p *Pebble) wrote(err error) {
	if err == nil {
		p.troubled.Store(nil)
	}
}

// onFull is called when a write met a full disk, before it is tried again.
func (p *Pebble) onFull() {
	p.ballast.drop()
	p.setFull()
}

func (p *Pebble) setFull() {
	if !p.full.Swap(true) {
		p.log.Error("the disk is full: the timeline store accepts nothing until there is room", "room", 2*p.ballast.size)
	}
	select {
	case p.noRoom <- struct{}{}:
	default: // it is known
	}
}

// keepRoom waits for room after the disk was full.
func (p *Pebble) keepRoom() {
	for {
		select {
		case <-p.done:
			return
		case <-p.noRoom:
			p.full.Store(true) // also if room was found while this was said
		}
		for p.ballast.take() != nil {
			select {
			case <-p.done:
				return
			case <-time.After(ballastRetry):
			}
		}
		p.full.Store(false)
		p.log.Info("there is room on the disk again")
	}
}

// keepSynced syncs what was appended, some time later.
func (p *Pebble) keepSynced() {
	for {
		select {
		case <-p.done:
			p.files.later.Stop()
			return
		case <-p.files.later.C:
		}
		p.files.due.Store(0) // what is appended from now on is synced another time
		_ = p.files.sync()   // an error is kept, and met by the next append
	}
}

// checkSchema refuses what this program cannot read, and marks a store that is new
// or of an earlier minor version as its own.
func (p *Pebble) checkSchema() error {
	v, closer, err := p.db.Get([]byte{keySchema})
	if err == nil {
		var major, minor byte
		if len(v) >= 2 {
			major, minor = v[0], v[1]
		}
		if err := closer.Close(); err != nil {
			return err
		}
		if major != schemaMajor {
			return fmt.Errorf("%w: it has schema %d.%d, this program reads %d.x", ErrVersion, major, minor, schemaMajor)
		}
		if minor >= schemaMinor {
			return nil
		}
	} else if !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	return p.db.Set([]byte{keySchema}, []byte{schemaMajor, schemaMinor}, pebble.Sync)
}

// load reads what is kept in memory: of every session all but its records.
func (p *Pebble) load() (err error) {
	it, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for it.SeekGE([]byte{keyMeta}); it.Valid() && it.Key()[0] == keyMeta; it.Next() {
		id := keyID(it.Key())
		meta, err := parseMeta(id, it.Value())
		if err != nil {
			return err
		}
		p.sessions[id] = &pebbleSession{st: Status{Meta: meta}, alive: true}
	}
	for it.SeekGE([]byte{keyState}); it.Valid() && it.Key()[0] == keyState; it.Next() {
		if s := p.sessions[keyID(it.Key())]; s != nil {
			if s.extra, err = parseState(&s.st, it.Value()); err != nil {
				return err
			}
		}
	}
	for id, s := range p.sessions {
		if err := lastRecord(it, id, &s.st); err != nil {
			return err
		}
	}
	return it.Error()
}

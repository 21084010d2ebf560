package timeline

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"detections/session/wire"
)

// tailLength is how many of a running session's newest events are kept in memory
// for its readers; a reader further behind reads from the store.
const tailLength = 256

// readBatch bounds what one Poll returns.
const readBatch = 128

// errDeleted is ErrUnknown in words for a client.
var errDeleted = fmt.Errorf("%w: %w", ErrUnknown, wire.Errorf(wire.UnknownSession, "the session was deleted"))

// Log is a Store with readers that follow.
type Log struct {
	store Store

	mu    sync.Mutex
	tails map[string]*tail // of sessions with a Writer or a Reader
}

// tail is the newest part of one timeline. Its mutex is never held while the store works.
type tail struct {
	refs int // guarded by Log.mu

	mu      sync.Mutex
	events  []wire.Event // the last ones, contiguous, ending with offset
	offset  uint64
	ended   bool
	gone    bool          // deleted
	changed chan struct{} // closed and renewed when any of the above changes
}

// New puts readers in front of a store. The Log owns the store.
func New(store Store) *Log { return &Log{store: store, tails: map[string]*tail{}} }

// Store is what lies below: for everything that is not following or appending.
func (l *Log) Store() Store { return l.store }

// Writer appends to one session's timeline as its owner.
type Writer struct {
	// Again says that results which a power cut takes are made again, as those of a file
	// are: they need not be synced as soon. It is set before the first of them.
	Again bool

	log  *Log
	id   string
	term uint64
	tail *tail
	once sync.Once
}

// Acquire takes a session over and returns it as it stands. Close the Writer when the session has ended.
func (l *Log) Acquire(ctx context.Context, id string) (*Writer, Status, error) {
	t := l.hold(id)
	st, err := l.store.Acquire(ctx, id)
	if err != nil {
		l.drop(id)
		return nil, Status{}, err
	}
	t.observe(st)
	return &Writer{log: l, id: id, term: st.Term, tail: t}, st, nil
}

// Append puts one event and what its replay needs after the event with offset after.
func (w *Writer) Append(ctx context.Context, after uint64, e wire.Event, replay []byte) error {
	if err := w.log.store.Append(ctx, w.id, w.term, after, Record{Event: e, Replay: replay, Again: w.Again && e.Type == wire.TypeDetections}); err != nil {
		return err
	}
	w.tail.push(e)
	return nil
}

// Commit records what is durable of the input.
func (w *Writer) Commit(ctx context.Context, bytes int64, final bool) error {
	return w.log.store.Commit(ctx, w.id, w.term, Input{Bytes: bytes, Final: final})
}

// Close lets go of the session's tail.
func (w *Writer) Close() { w.once.Do(func() { w.log.drop(w.id) }) }

// Delete forgets a session; its readers get ErrUnknown.
func (l *Log) Delete(ctx context.Context, id string) error {
	if err := l.store.Delete(ctx, id); err != nil {
		return err
	}
	l.mu.Lock()
	t := l.tails[id]
	l.mu.Unlock()
	if t != nil {
		t.delete()
	}
	return nil
}

// Erase returns when nothing of a deleted session is on the disk any more.
func (l *Log) Erase(ctx context.Context, id string) error { return l.store.Erase(ctx, id) }

// Close closes the store.
func (l *Log) Close() error { return l.store.Close() }

// Reader follows one timeline. One goroutine at a time may use it.
type Reader struct {
	log    *Log
	id     string
	tail   *tail
	offset uint64 // of the last event returned
	used   Scratch
	once   sync.Once
}

// Follow reads a session's events after an offset. Close the Reader in the end.
func (l *Log) Follow(ctx context.Context, id string, after uint64) (*Reader, error) {
	t := l.hold(id)
	st, err := l.store.Status(ctx, id)
	if err != nil {
		l.drop(id)
		return nil, err
	}
	t.observe(st)
	return &Reader{log: l, id: id, tail: t, offset: after}, nil
}

// Poll returns the next events without waiting, at most readBatch of them, valid until
// it is called again. If there are none yet, changed is closed when there may be some. After the end
// event the error is io.EOF.
func (r *Reader) Poll(ctx context.Context) (events []wire.Event, changed <-chan struct{}, err error) {
	events, behind, changed, err := r.tail.since(r.offset)
	if behind {
		events, err = r.fromStore(ctx)
	} else if r.used.bytes != nil {
		r.used = Scratch{} // it is near the tail now
	}
	if len(events) > 0 {
		r.offset = events[len(events)-1].Offset
	}
	return events, changed, err
}

// fromStore reads events that are not in memory any more, which keeps a core busy
// for as long as it takes; between batches it lets those go first who are near the tail.
func (r *Reader) fromStore(ctx context.Context) ([]wire.Event, error) {
	runtime.Gosched()
	read := r.log.store.Read
	if s, ok := r.log.store.(Rereader); ok {
		read = func(ctx context.Context, id string, after uint64, limit int) ([]Record, error) {
			return s.ReadInto(ctx, id, after, limit, &r.used)
		}
	}
	recs, err := read(ctx, r.id, r.offset, readBatch)
	r.used.events = r.used.events[:0]
	for _, rec := range recs {
		r.used.events = append(r.used.events, rec.Event)
	}
	return r.used.events, err
}

// Close lets go of the timeline.
func (r *Reader) Close() { r.once.Do(func() { r.log.drop(r.id) }) }

// hold returns the session's tail, a new one if nobody holds it yet. It comes
// before any look at the store, so that no append falls between the two.
func (l *Log) hold(id string) *tail {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tails[id]
	if t == nil {
		t = &tail{changed: make(chan struct{})}
		l.tails[id] = t
	}
	t.refs++
	return t
}

func (l *Log) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tails[id]
	if t.refs--; t.refs == 0 {
		delete(l.tails, id)
	}
}

// observe tells a tail how far the store is.
func (t *tail) observe(st Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if st.Offset > t.offset {
		t.events, t.offset, t.ended = nil, st.Offset, st.Ended
		t.wake()
	}
}

func (t *tail) push(e wire.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 2*tailLength {
		t.events = append(make([]wire.Event, 0, 2*tailLength), t.events[tailLength:]...)
	}
	if e.Offset != t.offset+1 {
		t.events = nil // appended by somebody else meanwhile: the store has it
	}
	t.events = append(t.events, e)
	t.offset, t.ended = e.Offset, e.Type == wire.TypeEnd
	t.wake()
}

func (t *tail) delete() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	t.wake()
}

// wake tells all waiting readers. t.mu is held.
func (t *tail) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// since returns events after an offset, or says that the reader is so far behind
// that they are in the store only.
func (t *tail) since(after uint64) (events []wire.Event, behind bool, changed <-chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch first := t.offset + 1 - uint64(len(t.events)); {
	case t.gone:
		return nil, false, nil, errDeleted
	case after >= t.offset && t.ended:
		return nil, false, nil, io.EOF
	case after >= t.offset:
		return nil, false, t.changed, nil
	case after+1 < first:
		return nil, true, t.changed, nil
	default:
		from := after + 1 - first
		to := min(from+readBatch, uint64(len(t.events)))
		return t.events[from:to:to], false, t.changed, nil
	}
}

// Package timeline is the durable, ordered record of every session's events.
//
// A [Store] keeps, per session, records numbered 1..n, the number of input bytes
// that are durable, and who may write: a term. Taking a session over raises its
// term, and from then on the former owner can neither append nor commit. A [Log]
// puts the tail of running sessions and waiting readers in front of a Store:
// every door reads through a [Reader], from memory near the tail.
//
// The one rule: an event is in the store before anyone is told of it.
package timeline

import (
	"context"
	"errors"
	"time"

	"detections/session/wire"
)

// What a Store refuses.
var (
	ErrUnknown = errors.New("timeline: no such session")
	ErrExists  = errors.New("timeline: session exists")
	ErrOffset  = errors.New("timeline: another event was appended meanwhile")
	ErrFenced  = errors.New("timeline: the session was taken over")
	ErrEnded   = errors.New("timeline: the session has ended")
	ErrShrink  = errors.New("timeline: less input than was committed before")
	ErrClosed  = errors.New("timeline: closed")
)

// Record is one line of a timeline: what clients see, and what only a replay needs.
type Record struct {
	wire.Event
	Replay []byte
	// Again says that a power cut may take the record, because it is made again then:
	// it is not stored.
	Again bool
}

// Meta describes a session; it never changes.
type Meta struct {
	ID        string
	Principal string
	// Epoch identifies this numbering; it changes only if a log was lost.
	Epoch   string
	Created time.Time
	// Start is what the session was asked to do, as JSON; the hub's own form.
	Start []byte
}

// Status is a session as the store knows it.
type Status struct {
	Meta
	Term   uint64
	Offset uint64 // of the last record, 0: none
	Input  Input  // what was committed
	Ended  bool   // the last record is the end event
	Bytes  int64  // of all records, for quotas
	// Delivered is the offset up to which the events have reached the Annotations
	// service or were given up.
	Delivered uint64
}

// Input is what is durable of a session's media.
type Input struct {
	Bytes int64
	Final bool // that is all of it
}

// Less says whether it takes back something of what was committed before.
func (in Input) Less(before Input) bool {
	return in.Bytes < before.Bytes || before.Final && in != before
}

// Scratch is memory that one reading leaves to the next of the same reader, so that one
// that comes from far behind leaves no garbage: collecting that took a core from those
// near the tail.
type Scratch struct {
	recs   []Record
	bytes  []byte
	events []wire.Event
}

// Rereader is a Store that can read into memory that is used again.
type Rereader interface {
	// ReadInto is Store.Read, but what it returns is valid until the next call with the
	// same scratch.
	ReadInto(ctx context.Context, id string, after uint64, limit int, s *Scratch) ([]Record, error)
}

// Store keeps timelines. All methods may be called from any goroutine. What a
// method was given or has returned is not changed afterwards by either side.
type Store interface {
	// Create adds a session at term 0. ErrExists if the id is taken.
	Create(ctx context.Context, m Meta) error
	// Acquire makes the caller the session's owner: it raises the term by one and
	// returns the session as it stands. ErrUnknown.
	Acquire(ctx context.Context, id string) (Status, error)
	// Append adds records after the record with offset after; their Offset fields
	// must be after+1, after+2, …. All or none are added, and they are durable to
	// the store's promise when Append returns.
	// ErrOffset, ErrFenced, ErrEnded, ErrUnknown.
	Append(ctx context.Context, id string, term, after uint64, recs ...Record) error
	// Commit records what is durable of the input, to be found again after a power
	// cut whatever the store's promise for records is.
	// ErrShrink if that is less than before, ErrFenced, ErrUnknown.
	Commit(ctx context.Context, id string, term uint64, in Input) error
	// Deliver records that events up to an offset were delivered. It may be lost in
	// a crash. A lower offset than before is no error and changes nothing; it needs
	// no term, because only one process at a time has the store. ErrUnknown.
	Deliver(ctx context.Context, id string, offset uint64) error
	// Read returns at most limit records after an offset, none at the end. ErrUnknown.
	Read(ctx context.Context, id string, after uint64, limit int) ([]Record, error)
	// Status returns one session. ErrUnknown.
	Status(ctx context.Context, id string) (Status, error)
	// List returns all sessions, oldest first; only those without an end event if
	// unfinished is set.
	List(ctx context.Context, unfinished bool) ([]Status, error)
	// Delete forgets a session. Deleting an unknown one is no error.
	Delete(ctx context.Context, id string) error
	// Erase returns when nothing of a deleted session is in any file of the store.
	// ErrFull, ErrStorage: it will be gone some time later.
	Erase(ctx context.Context, id string) error
	Close() error
}

package loader

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Source supplies a model. It is used by one goroutine at a time.
type Source interface {
	// Fetch gives the newest version of the model, or ErrSame if that is the one whose
	// Key is have (empty: none is there yet). progress may be called from it, often; it
	// must not block, and may be nil. Other errors are final for this attempt, and of
	// type [*Error] unless ctx has ended; a [Watcher] tries again.
	Fetch(ctx context.Context, have string, progress func(Progress)) (File, error)
	// String is for people: "embedded", "/models/people.onnx",
	// "https://loader.example.org/models/people".
	String() string
}

// Keeper is a Source that keeps what it has fetched for the next start.
type Keeper interface {
	// Last is the version that was fetched and verified last, in this life or an earlier
	// one, without asking anyone. It fails with fs.ErrNotExist if there is none.
	Last() (File, error)
}

// ErrSame says that the newest version is the one that is there.
var ErrSame = errors.New("model: nothing newer")

// Progress is how far a download is.
type Progress struct {
	Done, Total int64         // bytes; Total 0: unknown
	ETA         time.Duration // 0: unknown
}

// Percent is from 0 to 100; 0 if the total is unknown.
func (p Progress) Percent() float64 {
	if p.Total <= 0 {
		return 0
	}
	return min(100, 100*float64(p.Done)/float64(p.Total))
}

// Reason is why a model did not come, in a word for programs.
type Reason string

// The reasons.
const (
	Unreachable Reason = "unreachable" // no connection, or it broke before an answer
	Slow        Reason = "slow"        // nothing came for a while
	NotFound    Reason = "not_found"   // 404, or no such file
	Denied      Reason = "denied"      // 401, 403, no right to read, no token
	Unavailable Reason = "unavailable" // another status than success
	Truncated   Reason = "truncated"   // it ended early; the next attempt goes on there
	Mismatch    Reason = "mismatch"    // another length or SHA-256 than was said, or none was said
	NoSpace     Reason = "no_space"    // the disk is full
	Storage     Reason = "storage"     // the disk failed
	Invalid     Reason = "invalid"     // the description, classes.json or the answer makes no sense
	Refused     Reason = "refused"     // it came, and cannot be used
)

// Error is why a model did not come.
type Error struct {
	Source string
	Reason Reason
	Err    error
	// After is how long the source wants to be left alone; 0: it did not say.
	After time.Duration
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("model from %s: %v", e.Source, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

package outbox

import (
	"context"
	"errors"
	"time"

	"detections/session/wire"
)

// ErrUnknown is what a Source says about a session that it does not have (any more).
var ErrUnknown = errors.New("outbox: no such session")

// Session is a session as its Source knows it.
type Session struct {
	ID        string
	Principal string
	// Epoch identifies the numbering of its events; it is part of every event's key.
	Epoch string
	// MediaID is the media's id at the Annotations service, as the client or that
	// service named it; may be empty.
	MediaID string
	// MediaName is what the client calls the media; may be empty.
	MediaName string
	// MediaSHA256 is the media's own, once all of it was seen: never a promise.
	MediaSHA256 string
	Offset      uint64 // of the last event, 0: none
	Delivered   uint64 // the cursor: as given to Source.Deliver last
	Ended       bool   // the last event is the end event
	// Since is when the oldest undelivered event began to wait; zero: not known.
	Since time.Time
}

// Source has the events and the cursors: the timeline. All methods may be called
// from any goroutine.
type Source interface {
	// Undelivered returns the sessions whose Delivered is below their Offset.
	Undelivered(ctx context.Context) ([]Session, error)
	// Session returns one. ErrUnknown.
	Session(ctx context.Context, id string) (Session, error)
	// Read returns at most limit events after an offset, none at the end. ErrUnknown.
	Read(ctx context.Context, id string, after uint64, limit int) ([]wire.Event, error)
	// Deliver moves a session's cursor to an offset. What is lost of that in a crash
	// is delivered again. ErrUnknown.
	Deliver(ctx context.Context, id string, offset uint64) error
}

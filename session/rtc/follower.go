package rtc

import (
	"context"
	"slices"

	"detections/session"
	"detections/session/wire"
)

// follower reads a session's events and knows which were told: another data channel goes
// on where the one before ended. Owned by tell.
type follower struct {
	reader session.Reader
	wants  func(wire.Event) bool
	offset uint64       // of the last event that was told, or need not be
	unsent []wire.Event // that were read and not told; valid until the reader is asked again
}

// each gives what is new to send, until that fails.
func (f *follower) each(send func(wire.Event) error) (n int, more <-chan struct{}, err error) {
	if len(f.unsent) == 0 {
		f.unsent, more, err = f.reader.Poll(context.Background())
	}
	for len(f.unsent) > 0 {
		if e := f.unsent[0]; f.wants(e) {
			if err := send(e); err != nil {
				return n, nil, err
			}
		}
		f.offset, f.unsent = f.unsent[0].Offset, f.unsent[1:]
		n++
	}
	return n, more, err
}

// freshest is each, but of results that have gathered it gives only the last.
func (f *follower) freshest(send func(wire.Event) error) (n int, more <-chan struct{}, err error) {
	var newest *wire.Event
	flush := func() error {
		if newest == nil {
			return nil
		}
		e := *newest
		newest = nil
		return send(e)
	}
	for {
		var some int
		some, more, err = f.each(func(e wire.Event) error {
			if e.Type != wire.TypeDetections {
				if err := flush(); err != nil {
					return err
				}
				return send(e)
			}
			e.Message = slices.Clone(e.Message) // the reader's memory is soon another event's
			newest = &e
			return nil
		})
		if n += some; some == 0 || err != nil {
			break
		}
	}
	if e := flush(); e != nil {
		return n, nil, e
	}
	return n, more, err
}

package timeline

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// A deleted session is gone for every reader at once, but its records are still in
// files: in the log, and in tables, until tables are merged, which may be never on a
// hub that is little used. Erasing writes the log's content into tables without them,
// and merges the tables that have them.

// erasure is a session to erase, and who waits for it.
type erasure struct {
	id   string
	done chan error // holds one
}

// Erase implements Store.
func (p *Pebble) Erase(ctx context.Context, id string) error {
	done := make(chan error, 1)
	select {
	case p.erasures <- erasure{id, done}:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return ErrClosed
	}
}

// erase erases one session after the other until the store is closed.
func (p *Pebble) erase() {
	ctx, cancel := context.WithCancel(context.Background())
	p.wg.Go(func() { <-p.done; cancel() })
	for {
		select {
		case e := <-p.erasures:
			e.done <- p.eraseOne(ctx, e.id)
		case <-p.done:
			return
		}
	}
}

func (p *Pebble) eraseOne(ctx context.Context, id string) error {
	if err := p.accepting(); err != nil {
		return err // the disk has no room to write tables anew, or does not take them
	}
	for _, kind := range []byte{keyMeta, keyState, keyRecord} {
		first := appendKey(nil, kind, id)
		beyond := append(appendRecordKey(nil, id, 1<<64-1), 0)
		beyond[0] = kind
		if err := p.db.Compact(ctx, first, beyond, false); err != nil {
			return err
		}
	}
	return nil
}

// cleaner removes files that are not needed any more, as Pebble's own does, and lets no
// log be used again: what was in it would stay readable behind what is written next.
// Pebble asks by a method that only its ArchiveCleaner has.
type cleaner struct {
	pebble.DeleteCleaner
	noReuse
}

type noReuse struct{ pebble.ArchiveCleaner }

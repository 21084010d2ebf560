package client

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// buffer keeps the media between its reader and the hub's acknowledgement, in a
// ring of fixed size:
//
//	base ≤ pos ≤ end ≤ base + len(ring)
//
// Bytes below base are acknowledged and gone, those up to pos were sent on this
// connection. One goroutine fills, one sends, anyone acknowledges.
//
// What the hub counts are the bytes that it was sent. For a file they are the media's.
// A live session goes on after a lost connection with the header of the stream again,
// intro, and where the outline says that a stream can begin.
type buffer struct {
	ring  []byte
	piece int64 // bytes of one message

	mu     sync.Mutex
	wake   sync.Cond
	base   int64
	pos    int64
	end    int64
	told   int64 // by the hub, as it counts; may be ahead of pos while a message is on its way
	shift  int64 // what the hub counts of the byte at pos, less pos
	intro  []byte
	live   *outline // nil: a file
	seeks  bool     // live: nothing is sent until there is a place at or behind pos to go on
	window int64
	turn   int  // number of the connection that may send
	final  bool // end is the end of the media
	closed bool
}

// emptyReads is how often a reader may neither read nor fail.
const emptyReads = 100

// newBuffer makes one for a file of which the hub has so many bytes already, or for a
// live stream, which begins anew whatever the hub has.
func newBuffer(size, from int64, live *outline) *buffer {
	b := &buffer{ring: make([]byte, size), told: from, window: size, live: live}
	if b.shift = from; live == nil {
		b.shift, b.base, b.pos, b.end = 0, from, from, from
	}
	b.wake.L = &b.mu
	return b
}

// fill reads the media to its end. It returns early, without an error, when the
// buffer is closed.
func (b *buffer) fill(media io.Reader) error {
	for empty := 0; ; {
		p := b.space()
		if p == nil {
			return nil
		}
		n, err := media.Read(p)
		b.mu.Lock()
		b.end += int64(n)
		b.final = errors.Is(err, io.EOF)
		if b.live != nil {
			b.live.pass(p[:n])
			b.seek()
		}
		closed := b.closed
		b.wake.Broadcast()
		b.mu.Unlock()
		switch {
		case errors.Is(err, io.EOF) || closed:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", ErrMedia, err)
		case n > 0:
			empty = 0
		default:
			if empty++; empty == emptyReads {
				return fmt.Errorf("%w: %w", ErrMedia, io.ErrNoProgress)
			}
		}
	}
}

// space waits for room and returns it in one piece; nil: closed.
func (b *buffer) space() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := int64(len(b.ring))
	for b.end-b.base == size && !b.closed {
		b.wake.Wait()
	}
	if b.closed {
		return nil
	}
	at := b.end % size
	return b.ring[at:min(at+size-(b.end-b.base), size)]
}

// take gives the sending side to a connection, which goes on at a byte as the hub counts.
func (b *buffer) take(at, window, piece int64) (turn int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	acked := b.base + b.shift
	pos := at - b.shift
	if b.live != nil {
		acked, pos = min(b.told, at), max(pos, b.base)
	}
	if pos < b.base || pos > b.end {
		return 0, fmt.Errorf("the hub wants to go on at byte %d, but only bytes %d to %d are kept", at, b.base+b.shift, b.end+b.shift)
	}
	b.pos, b.window, b.piece = pos, window, piece
	b.turn++
	b.told = acked
	if b.live != nil {
		b.shift, b.intro = at-pos, nil
		b.seeks = pos > 0 // else nothing of it has come
		b.seek()
	}
	return b.turn, nil
}

// seek looks for the place where a live stream goes on, and forgets what is before it.
// b.mu is held.
func (b *buffer) seek() {
	if !b.seeks {
		return
	}
	at, ok := b.live.next(b.pos)
	switch {
	case ok:
		b.intro, b.seeks = b.live.header, false
	case b.final:
		at = b.end
	default:
		at = max(b.pos, b.live.unread())
	}
	b.shift -= at - b.pos
	if ok {
		b.shift += int64(len(b.intro))
	}
	b.base, b.pos = at, at
	b.wake.Broadcast()
}

// next waits for bytes that may be sent. Without bytes the media is at its end, and
// without ok somebody else has the turn or nothing more is to be sent. The bytes are
// valid until sent is called.
func (b *buffer) next(turn int) (p []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		left := b.window - (b.pos + b.shift - int64(len(b.intro)) - b.told)
		n := min(b.end-b.pos, left, b.piece)
		switch {
		case b.closed || b.turn != turn:
			return nil, false
		case b.final && b.pos == b.end && len(b.intro) == 0:
			return nil, true
		case b.seeks:
		case len(b.intro) > 0 && left > 0:
			return b.intro[:min(int64(len(b.intro)), left, b.piece)], true
		case n > 0 && len(b.intro) == 0:
			at := b.pos % int64(len(b.ring))
			return b.ring[at:min(at+n, int64(len(b.ring)))], true
		}
		b.wake.Wait()
	}
}

// sent says that what next gave is on its way.
func (b *buffer) sent(turn, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.turn != turn:
	case len(b.intro) > 0:
		b.intro = b.intro[n:]
	default:
		b.pos += int64(n)
		b.forget()
	}
}

// ack takes the hub's word that so many bytes are durable, and says whether that is news.
func (b *buffer) ack(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = max(b.told, n)
	return b.forget()
}

func (b *buffer) forget() bool {
	base := b.base
	if !b.seeks {
		base = max(base, min(b.told-b.shift, b.pos))
	}
	news := base > b.base
	b.base = base
	b.wake.Broadcast()
	return news
}

// interrupt ends a connection's turn.
func (b *buffer) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	b.wake.Broadcast()
}

// close ends both sides.
func (b *buffer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.wake.Broadcast()
}

// progress is how many bytes were sent, and how many the hub has acknowledged.
func (b *buffer) progress() (sent, acked int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pos, b.base
}

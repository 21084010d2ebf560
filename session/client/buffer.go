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
type buffer struct {
	ring  []byte
	piece int64 // bytes of one message

	mu     sync.Mutex
	wake   sync.Cond
	base   int64
	pos    int64
	end    int64
	told   int64 // by the hub; may be ahead of pos while a message is on its way
	window int64
	turn   int  // number of the connection that may send
	final  bool // end is the end of the media
	closed bool
}

// emptyReads is how often a reader may neither read nor fail.
const emptyReads = 100

func newBuffer(size, from int64) *buffer {
	b := &buffer{ring: make([]byte, size), base: from, pos: from, end: from, told: from, window: size}
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

// take gives the sending side to a connection, which goes on at a byte.
func (b *buffer) take(pos, window, piece int64) (turn int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pos < b.base || pos > b.end {
		return 0, fmt.Errorf("the hub wants to go on at byte %d, but only bytes %d to %d are kept", pos, b.base, b.end)
	}
	b.pos, b.window, b.piece = pos, window, piece
	b.turn++
	b.told = b.base
	return b.turn, nil
}

// next waits for bytes that may be sent. Without bytes the media is at its end, and
// without ok somebody else has the turn or nothing more is to be sent. The bytes are
// valid until sent is called.
func (b *buffer) next(turn int) (p []byte, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		n := min(b.end-b.pos, b.window-(b.pos-b.base), b.piece)
		switch {
		case b.closed || b.turn != turn:
			return nil, false
		case n > 0:
			at := b.pos % int64(len(b.ring))
			return b.ring[at:min(at+n, int64(len(b.ring)))], true
		case b.final && b.pos == b.end:
			return nil, true
		}
		b.wake.Wait()
	}
}

// sent says that what next gave is on its way.
func (b *buffer) sent(turn, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.turn == turn {
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
	base := max(b.base, min(b.told, b.pos))
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

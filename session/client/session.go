package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"sync"
	"time"

	"detections/session/wire"
)

// Event is one of
//
//   - *wire.Detections, *wire.Configured, *wire.Segment, *wire.End: the session's
//     timeline, each exactly once and in order; the end is the last of them
//   - *wire.Progress, *wire.State, *wire.GoAway: how it stands
//   - *wire.ErrorMessage: the hub refused what Configure asked for
//   - *Lost, *Resumed: the connection
type Event any

// Lost says that the connection is gone and will be tried again.
type Lost struct {
	Err     error
	Attempt int           // from 1, since the last progress
	Wait    time.Duration // until it is tried
}

// Resumed says that the session goes on.
type Resumed struct {
	// Discard: the hub could not go on where it was; every event yielded so far is
	// void, and they come again from the first.
	Discard bool
	Bytes   int64 // the upload goes on from here
}

// How long the end of a session is waited for, once it was cancelled or closed.
const (
	cancelGrace = 10 * time.Second
	closeGrace  = 2 * time.Second
)

// queued bounds the events that wait for the caller.
const queued = 256

// maxAsked bounds the changes of configuration that wait for their confirmation.
const maxAsked = 16

// Session is one job of the hub.
type Session struct {
	// Static after construction.
	c      *Client
	start  wire.Start
	media  io.Reader
	events chan Event
	life   context.Context // ends when even waiting for the end is over
	kill   context.CancelCauseFunc
	done   chan struct{} // closed when nothing of the session runs any more
	told   chan struct{} // closed when the session is to be cancelled on the hub
	gone   chan struct{} // closed when the caller takes no more events
	asked  chan struct{} // something new is in wants
	ctx    context.Context
	unhook func() bool

	// Static after open.
	started wire.Started // the first one
	buffer  *buffer

	// Owned by run.
	epoch   string
	offset  uint64        // of the last event
	retry   time.Duration // what a goaway asked for
	stay    bool          // a goaway said not to come back
	outage  time.Time     // since when there was no progress; zero: there was
	attempt int
	ended   *wire.End

	// Guarded by mu.
	mu      sync.Mutex
	wants   []wire.Configure // not confirmed yet
	names   int
	why     error // of the cancellation
	err     error // set before done
	grace   *time.Timer
	closing sync.Once
}

func newSession(c *Client, ctx context.Context, media io.Reader, start wire.Start) *Session {
	s := &Session{
		c: c, start: start, media: media, ctx: ctx, events: make(chan Event, queued), done: make(chan struct{}),
		told: make(chan struct{}), gone: make(chan struct{}), asked: make(chan struct{}, 1),
	}
	s.life, s.kill = context.WithCancelCause(context.Background())
	return s
}

// abandon gives up a session that never began.
func (s *Session) abandon() {
	s.kill(nil)
	closeMedia(s.media)
}

// Started is the hub's answer to the start: the session's id, its model, the limits.
func (s *Session) Started() wire.Started { return s.started }

// Uploaded is how many bytes of the media were sent, and how many of them the hub
// has acknowledged.
func (s *Session) Uploaded() (sent, acked int64) { return s.buffer.progress() }

// Events yields what comes until the session is over; Err then says how it went.
// It can be called again to go on after leaving the loop, from one goroutine at a time.
func (s *Session) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for e := range s.events {
			if !yield(e) {
				return
			}
		}
	}
}

// Err is how the session went, once Events has come to its end: nil if everything
// was detected; a *wire.Error if the hub says why not; the cause of the context that
// ended it; ErrCancelled, ErrUnreachable or ErrMedia. The events that were yielded hold in
// every case.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Configure asks for a change. The *wire.Configured event with the same id names the
// first frame for which it holds; a *wire.ErrorMessage with it says that the hub refuses.
// Without an id it gets one. A change that was not confirmed when the connection was
// lost is asked for again.
func (s *Session) Configure(m wire.Configure) error {
	if err := m.Validate(); err != nil {
		return wire.Errorf(wire.BadMessage, "%s", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wants) == maxAsked {
		return wire.Errorf(wire.Quota, "%d changes wait for the hub's confirmation", maxAsked)
	}
	s.names++
	m.ID = cmp.Or(m.ID, "client-"+strconv.Itoa(s.names))
	s.wants = append(s.wants, m)
	s.ask()
	return nil
}

// ask wakes the connection.
func (s *Session) ask() {
	select {
	case s.asked <- struct{}{}:
	default:
	}
}

// Cancel stops the session on the hub; what was found until then, and the end, are
// still yielded.
func (s *Session) Cancel() { s.cancel(ErrCancelled, cancelGrace) }

// cancel stops the session, and its waiting for the end after a while.
func (s *Session) cancel(why error, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = why
		close(s.told)
	}
	if s.grace != nil {
		s.grace.Stop()
	}
	s.grace = time.AfterFunc(grace, func() { s.kill(why) })
}

// Close stops the session if it still runs, discards what was not taken, and waits
// until nothing of it is left, a Read of the media included. It always returns nil.
func (s *Session) Close() error {
	s.closing.Do(func() { close(s.gone) })
	select {
	case <-s.done:
	default:
		s.cancel(ErrCancelled, closeGrace)
		<-s.done
	}
	return nil
}

// run is the session's goroutine: it has one connection after the other until the
// session is over.
func (s *Session) run(c *conn) {
	s.unhook = context.AfterFunc(s.ctx, func() { s.cancel(context.Cause(s.ctx), cancelGrace) })
	var reading sync.WaitGroup
	reading.Go(s.read)
	err := s.talk(c)
	s.unhook()
	s.buffer.close()
	closeMedia(s.media)
	reading.Wait()
	s.mu.Lock()
	s.err = s.verdict(err)
	if s.grace != nil {
		s.grace.Stop()
	}
	s.mu.Unlock()
	s.kill(nil)
	close(s.events)
	close(s.done)
}

// read fills the buffer from the media.
func (s *Session) read() {
	if s.started.Known {
		return // nobody needs it
	}
	var err error
	if s.start.Mode != wire.Live { // what is live begins anew
		err = s.skip(s.started.Bytes)
	}
	switch {
	case err == nil:
		err = s.buffer.fill(s.media)
	case errors.Is(err, errOtherMedia):
		s.kill(err) // the hub's session is somebody else's work: it is not cancelled
		return
	}
	if err != nil {
		s.cancel(err, cancelGrace)
	}
}

// errOtherMedia is a key under which the hub has other media.
var errOtherMedia = fmt.Errorf("%w: the hub has other media under this key", ErrMedia)

// skip passes over what the hub has already, and makes sure that it is the same.
func (s *Session) skip(n int64) error {
	if n == 0 {
		return nil
	}
	hash := sha256.New()
	if got, err := io.CopyN(hash, s.media, n); errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it has %d bytes, these are %d", errOtherMedia, n, got)
	} else if err != nil {
		return fmt.Errorf("%w: the hub has %d bytes of it already: %w", ErrMedia, n, err)
	}
	if sum := s.started.SHA256; sum != "" && sum != hex.EncodeToString(hash.Sum(nil)) {
		return fmt.Errorf("%w: the first %d bytes differ", errOtherMedia, n)
	}
	return nil
}

// talk returns nil when the end event came, or why it never will.
func (s *Session) talk(c *conn) error {
	for {
		err := c.serve()
		if s.ended != nil {
			return nil
		}
		if c, err = s.comeBack(err); err != nil {
			return err
		}
	}
}

// verdict says how it went. s.mu is held.
func (s *Session) verdict(err error) error {
	switch end := s.ended; {
	case err != nil && s.why != nil:
		return s.why
	case err != nil:
		return err
	case end.Outcome == wire.Done:
		return nil
	case end.Outcome == wire.Failed:
		return &wire.Error{Code: end.Code, Message: end.Message}
	default:
		return cmp.Or(s.why, ErrCancelled)
	}
}

// deliver hands an event to the caller, and waits for him.
func (s *Session) deliver(e Event) {
	select {
	case s.events <- e:
	case <-s.gone:
	case <-s.life.Done():
	}
}

// offer hands an event to the caller, unless he is behind.
func (s *Session) offer(e Event) {
	select {
	case s.events <- e:
	default:
	}
}

// answered forgets a change that holds now, or is refused.
func (s *Session) answered(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, m := range s.wants {
		if m.ID == id {
			s.wants = append(s.wants[:i:i], s.wants[i+1:]...)
			return
		}
	}
}

func closeMedia(media io.Reader) {
	if c, ok := media.(io.Closer); ok {
		_ = c.Close() // it was only read
	}
}

package ws

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// progressEvery is how often progress is told, if there is any.
const progressEvery = time.Second

// resultsFilter is which results this connection wants.
type resultsFilter struct{ nonempty atomic.Bool }

func (f *resultsFilter) set(r wire.Results) {
	if r != "" {
		f.nonempty.Store(r == wire.NonEmpty)
	}
}

func (f *resultsFilter) wants(e wire.Event) bool { return !e.Empty || !f.nonempty.Load() }

// reply hands a message to the writer.
func (c *conn) reply(text []byte) {
	select {
	case c.replies <- text:
	case <-c.done:
	}
}

// told is what the client knows of the session's status.
type told struct {
	acked  int64
	state  wire.State
	offset uint64
	bytes  int64
}

// write sends everything that concerns this connection until it must end, and
// says how.
func (c *conn) write() *closing {
	var known told
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	s, over := c.attached.Session, c.attached.Session.Done()
	for {
		changed := s.Changed() // before looking, so that nothing is missed
		if err := c.status(&known); err != nil {
			return c.broken(err)
		}
		n, more, err := c.events()
		switch {
		case errors.Is(err, io.EOF):
			return c.ended()
		case err != nil:
			return c.broken(err)
		case n > 0:
			continue
		case over == nil && s.Suspended():
			return c.goAway()
		case over == nil:
			return fatal(wire.Errorf(wire.Internal, "")) // it has ended without an end event
		}
		select {
		case <-more:
		case <-changed:
		case <-over:
			over = nil // look once more
		case <-progress.C:
			err = c.progress(&known)
		case text := <-c.replies:
			err = c.send(text)
		case <-c.replaced():
			return c.evicted()
		case err = <-c.readEnded:
		}
		if err != nil {
			return c.broken(err)
		}
	}
}

// events sends what is new on the timeline.
func (c *conn) events() (n int, more <-chan struct{}, err error) {
	events, more, err := c.attached.Reader.Poll(context.Background())
	for _, e := range events {
		if !c.results.wants(e) {
			continue
		}
		if err := c.send(e.Message); err != nil {
			return 0, nil, err
		}
	}
	return len(events), more, err
}

// status tells changes of state and, the feeder, of acknowledged bytes.
func (c *conn) status(known *told) error {
	st := c.attached.Session.Status()
	if st.Acked > known.acked && c.attached.Feeder != nil {
		known.acked = st.Acked
		if err := c.send(wire.Encode(wire.Ack{Type: wire.TypeAck, Bytes: st.Acked})); err != nil {
			return err
		}
	}
	if now := st.Told(); !now.Same(known.state) && st.State != wire.Ended {
		known.state = now
		return c.send(wire.Encode(now))
	}
	return nil
}

func (c *conn) progress(known *told) error {
	st := c.attached.Session.Status()
	if st.Offset == known.offset && st.Received == known.bytes {
		return nil
	}
	known.offset, known.bytes = st.Offset, st.Received
	return c.send(wire.Encode(st.Progress()))
}

// ended closes after the end event.
func (c *conn) ended() *closing {
	c.drainReplies()
	if e := c.attached.Session.Failure(); e != nil {
		if cl := fatal(e); cl.code != 0 {
			return cl
		}
	}
	return &closing{websocket.StatusNormalClosure, "end"}
}

func (c *conn) replaced() <-chan struct{} {
	if c.attached.Feeder == nil {
		return nil
	}
	return c.attached.Feeder.Replaced()
}

func (c *conn) evicted() *closing {
	e := wire.Errorf(wire.Replaced, "another connection took over as this session's feeder")
	if err := c.send(errorMessage(e, true)); err != nil {
		return c.broken(err)
	}
	return fatal(e)
}

// goAway asks the client to come back: the session goes on in another process.
func (c *conn) goAway() *closing {
	c.drainReplies()
	if err := c.send(wire.NewGoAway()); err != nil {
		return c.broken(err)
	}
	return &closing{websocket.StatusGoingAway, "resume"}
}

// broken says how to close after a failed read or write.
func (c *conn) broken(err error) *closing {
	if cl, ok := errors.AsType[*closing](err); ok {
		c.drainReplies() // the error message goes out before the close frame
		return cl
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		if c.send(errorMessage(e, true)) == nil {
			return fatal(e)
		}
	}
	c.h.log.Debug("connection lost", "session", c.attached.Session.ID(), "err", err)
	return &closing{}
}

// drainReplies sends what the reader still had to say.
func (c *conn) drainReplies() {
	for {
		select {
		case text := <-c.replies:
			if c.send(text) != nil {
				return
			}
		default:
			return
		}
	}
}

// send writes one message; a write without progress ends the connection.
func (c *conn) send(text []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.h.cfg.Write)
	defer cancel()
	return c.socket.Write(ctx, websocket.MessageText, text)
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// conn is one connection of a session.
type conn struct {
	s      *Session
	socket *websocket.Conn
	turn   int // at the buffer
	fatal  *wire.Error
}

const (
	piece      = 64 << 10         // bytes of media in one message, at most
	maxMessage = 16 << 20         // bytes of one message of the hub
	dialTime   = 15 * time.Second // from the first packet to started
	writeTime  = 30 * time.Second // for one message of ours to leave
	lastWords  = 2 * time.Second  // to read what the hub says to a broken upload, and its close frame
)

// dialError is a connection that did not come about.
type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// attach opens a connection and begins the session on it, or comes back to it.
func (s *Session) attach(ctx context.Context) (_ *conn, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTime, errors.New("the hub did not answer within "+dialTime.String()))
	defer cancel()
	socket, answer, err := websocket.Dial(ctx, s.c.url("v1/session"), &websocket.DialOptions{
		HTTPClient: s.c.cfg.HTTP, Subprotocols: []string{wire.Subprotocol},
	})
	if err != nil {
		return nil, refusal(ctx, answer, err)
	}
	defer func() {
		if err != nil {
			_ = socket.CloseNow()
		}
	}()
	if socket.Subprotocol() != wire.Subprotocol {
		return nil, fmt.Errorf("%w: it does not offer the WebSocket subprotocol %s", ErrNotAHub, wire.Subprotocol)
	}
	socket.SetReadLimit(maxMessage)
	c := &conn{s: s, socket: socket}
	return c, c.begin(ctx)
}

// refusal says why a hub did not take the connection.
func refusal(ctx context.Context, answer *http.Response, err error) error {
	if answer == nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return &dialError{fmt.Errorf("%w: %w", ErrUnreachable, innermost(err))}
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxProblem)) // what came is enough
	if e := problemOf(answer, text); e != nil {
		return e
	}
	if answer.StatusCode >= 500 {
		return fmt.Errorf("%w: %s", ErrUnreachable, answer.Status)
	}
	return fmt.Errorf("%w: GET /v1/session is answered %q", ErrNotAHub, answer.Status)
}

// begin says the first message and takes the answer.
func (c *conn) begin(ctx context.Context) error {
	s, first := c.s, c.s.buffer == nil
	var m wire.ClientMessage = &s.start
	if !first {
		m = &wire.Resume{Session: s.started.Session, Token: s.started.Token, Epoch: s.epoch, Offset: s.offset, Results: s.start.Results}
	}
	if err := c.socket.Write(ctx, websocket.MessageText, wire.EncodeClient(m)); err != nil {
		return err
	}
	started, err := c.answer(ctx)
	if err != nil {
		return err
	}
	limits := wire.StartedLimits{Window: 1 << 20, Message: piece}
	if started.Limits != nil {
		limits = *started.Limits
	}
	if limits.Window < 1 || limits.Message < 1 || started.Bytes < 0 {
		return fmt.Errorf("%w: impossible limits in started", ErrNotAHub)
	}
	if first {
		s.started = *started
		size := min(s.c.cfg.Buffer, limits.Window)
		if n := s.start.Media.Size; n > 0 {
			size = min(size, n)
		}
		var live *outline
		if s.start.Mode == wire.Live {
			live = newOutline(s.start.Media.Container)
		}
		s.buffer = newBuffer(size, started.Bytes, live)
	}
	if c.turn, err = s.buffer.take(started.Bytes, limits.Window, min(piece, limits.Message)); err != nil {
		return wire.Errorf(wire.UploadIncomplete, "%s", err)
	}
	discard := !started.Recovered || s.epoch != "" && started.Epoch != s.epoch
	if s.epoch = started.Epoch; discard || first {
		s.offset = started.Offset
	}
	if !first {
		s.deliver(&Resumed{Discard: discard, Bytes: started.Bytes})
	}
	return nil
}

// answer waits for started.
func (c *conn) answer(ctx context.Context) (*wire.Started, error) {
	for {
		m, err := c.message(ctx)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *wire.Started:
			return m, nil
		case *wire.ErrorMessage:
			if m.Fatal {
				return nil, &wire.Error{Code: m.Code, Message: m.Message}
			}
		}
	}
}

// message reads one message.
func (c *conn) message(ctx context.Context) (wire.HubMessage, error) {
	kind, text, err := c.socket.Read(ctx)
	switch {
	case err != nil:
		return nil, err
	case kind != websocket.MessageText:
		return nil, fmt.Errorf("%w: it sent a binary message", ErrNotAHub)
	}
	m, err := wire.ParseHub(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAHub, err)
	}
	return m, nil
}

// serve works until the connection is lost, and returns why.
func (c *conn) serve() error {
	begun := time.Now()
	ctx, stop := context.WithCancel(c.s.life)
	var group sync.WaitGroup
	group.Go(func() { c.broken(ctx, c.feed(ctx)) })
	group.Go(func() { c.broken(ctx, c.control(ctx)) })
	err := c.listen(ctx)
	if c.s.ended != nil {
		c.farewell()
	}
	c.s.buffer.interrupt()
	stop()
	_ = c.socket.CloseNow() // it is closed, or broken
	group.Wait()
	if time.Since(begun) > c.s.c.cfg.MaxDelay {
		c.s.progressed() // nothing may have happened, but the hub was there
	}
	if c.fatal != nil {
		return c.fatal
	}
	return err
}

// broken ends a connection on which nothing can be said any more, after listening
// for the reason a little longer.
func (c *conn) broken(ctx context.Context, err error) {
	if err == nil {
		return
	}
	c.s.c.log.Debug("write failed", "err", err)
	sleep(ctx, lastWords)
	_ = c.socket.CloseNow() // it is broken
}

// farewell waits for the hub's close frame, which the library answers.
func (c *conn) farewell() {
	c.s.buffer.close()
	ctx, cancel := context.WithTimeout(c.s.life, lastWords)
	defer cancel()
	for {
		if _, _, err := c.socket.Read(ctx); err != nil {
			return
		}
	}
}

// errSilent is a peer that is gone without a word.
var errSilent = errors.New("nothing was heard from the hub for three heartbeats")

// listen reads until the end event or the end of the connection. Control asks for a
// sign of life every heartbeat, so there is always something to read.
func (c *conn) listen(ctx context.Context) error {
	for c.s.ended == nil {
		patience, cancel := context.WithTimeoutCause(ctx, 3*c.s.c.cfg.Heartbeat, errSilent)
		m, err := c.message(patience)
		silent := patience.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case silent && err != nil:
			return errSilent
		case err != nil:
			return err
		case m != nil:
			c.take(m)
		}
	}
	return nil
}

// take carries out a message. It waits if the caller is behind.
func (c *conn) take(m wire.HubMessage) {
	s := c.s
	switch m := m.(type) {
	case *wire.Ack:
		if s.buffer.ack(m.Bytes) {
			s.progressed()
		}
	case *wire.Detections:
		if !s.isNew(m.Offset) {
			return
		}
		// A hub does not know after resume that empty results were not wanted.
		if s.start.Results != wire.NonEmpty || len(m.Detections) > 0 || m.Error != nil {
			s.deliver(m)
		}
	case *wire.Configured:
		s.answered(m.ID)
		if s.isNew(m.Offset) {
			s.deliver(m)
		}
	case *wire.Segment:
		if s.isNew(m.Offset) {
			s.deliver(m)
		}
	case *wire.End:
		if s.isNew(m.Offset) {
			s.ended = m
			s.deliver(m)
		}
	case *wire.Progress:
		s.offer(m)
	case *wire.State:
		s.deliver(m)
	case *wire.GoAway:
		s.retry, s.stay = time.Duration(m.Retry), m.Action == "stop"
		s.deliver(m)
	case *wire.ErrorMessage:
		if m.Fatal {
			c.fatal = &wire.Error{Code: m.Code, Message: m.Message} // the close frame follows
			return
		}
		s.answered(m.ID)
		s.deliver(m)
	}
}

// isNew says whether an event was not seen yet, and remembers it.
func (s *Session) isNew(offset uint64) bool {
	if offset <= s.offset {
		return false
	}
	s.offset = offset
	s.progressed()
	return true
}

// feed sends the media.
func (c *conn) feed(ctx context.Context) error {
	for {
		p, ok := c.s.buffer.next(c.turn)
		switch {
		case !ok:
			return nil
		case p == nil:
			return c.say(ctx, wire.EOF{})
		}
		if err := c.write(ctx, websocket.MessageBinary, p); err != nil {
			return err
		}
		c.s.buffer.sent(c.turn, len(p))
	}
}

// control says everything that is not media: signs of life, changes, and the wish to stop.
func (c *conn) control(ctx context.Context) error {
	beat := time.NewTicker(c.s.c.cfg.Heartbeat)
	defer beat.Stop()
	cancelled, beats := c.s.told, 0
	said := map[string]bool{}
	for {
		if err := c.sayWants(ctx, said); err != nil {
			return err
		}
		var m wire.ClientMessage
		select {
		case <-ctx.Done():
			return nil
		case <-c.s.asked:
			continue
		case <-cancelled:
			cancelled = nil
			c.s.buffer.close()
			m = wire.Cancel{}
		case <-beat.C:
			beats++
			m = &wire.Ping{T: json.RawMessage(strconv.Itoa(beats))}
		}
		if err := c.say(ctx, m); err != nil {
			return err
		}
	}
}

// sayWants asks for the changes that were not asked for on this connection yet.
func (c *conn) sayWants(ctx context.Context, said map[string]bool) error {
	c.s.mu.Lock()
	wants := append([]wire.Configure(nil), c.s.wants...)
	c.s.mu.Unlock()
	for _, m := range wants {
		if said[m.ID] {
			continue
		}
		said[m.ID] = true
		if err := c.say(ctx, &m); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) say(ctx context.Context, m wire.ClientMessage) error {
	return c.write(ctx, websocket.MessageText, wire.EncodeClient(m))
}

func (c *conn) write(ctx context.Context, kind websocket.MessageType, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return c.socket.Write(ctx, kind, p)
}

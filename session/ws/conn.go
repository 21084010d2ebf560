package ws

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"detections/session"
	"detections/session/wire"
)

// conn is one connection.
type conn struct {
	// Static after construction and begin.
	h         *Handler
	socket    *websocket.Conn
	caller    Caller
	attached  *session.Attachment
	replies   chan []byte   // reader → writer: messages that are not events
	readEnded chan error    // reader → writer
	done      chan struct{} // closed when the writer has ended

	// Owned by the reader.
	buffer           []byte // made with the first media: watchers need none
	picture          picture
	controls, medias bucket

	results resultsFilter
	begun   time.Time
	heard   atomic.Int64 // the last bytes from the client, in ns after begun
}

// replyBuffer bounds the replies that wait for the writer. A client that makes the
// hub answer faster than it reads is not read from meanwhile.
const replyBuffer = 16

// chunk is how much of a binary message is taken at a time. The library waits until
// that much has come, so it is also how late a byte can be: 65 ms at 2 Mbit/s.
const chunk = 16 << 10

func newConn(h *Handler, s *websocket.Conn, caller Caller) *conn {
	return &conn{
		h: h, socket: s, caller: caller, begun: time.Now(),
		controls: newBucket(controlRate, controlBurst), medias: newBucket(mediaRate, mediaBurst),
		replies: make(chan []byte, replyBuffer), readEnded: make(chan error, 1), done: make(chan struct{}),
	}
}

// serve returns when the connection is closed and nothing of it runs any more.
//
// Cancelling a read closes the socket at once, without a close frame. So reads are
// never cancelled: the writer closes the socket, and that ends the reader.
func (c *conn) serve() {
	defer c.detach()
	heart := c.startHeart()
	reader := make(chan struct{})
	go func() { defer close(reader); c.readEnded <- c.read() }()
	c.close(c.write())
	close(c.done)
	heart.stop()
	<-reader
}

// begin reads the first message and attaches to its session.
func (c *conn) begin(ctx context.Context) error {
	m, err := c.first(ctx)
	if err != nil {
		return c.refuse(err)
	}
	a, err := c.attach(ctx, m)
	if err != nil {
		return c.refuse(err)
	}
	c.attached = a
	if err := c.send(wire.Encode(a.Started)); err != nil {
		c.detach()
		return err
	}
	return nil
}

// attach carries out the first message.
func (c *conn) attach(ctx context.Context, m wire.ClientMessage) (*session.Attachment, error) {
	if m, ok := m.(*wire.Watch); ok {
		c.results.set(m.Results)
		return c.h.cfg.Hub.Watch(ctx, c.caller.Sees, *m)
	}
	if err := c.caller.May(); err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *wire.Start:
		c.results.set(m.Results)
		return c.h.cfg.Hub.Start(ctx, c.caller.Principal, *m)
	case *wire.Resume:
		c.results.set(m.Results)
		return c.h.cfg.Hub.Resume(ctx, c.caller.Principal, *m)
	}
	return nil, wire.Errorf(wire.BadMessage, "expected start, resume or watch as the first message")
}

// first reads the first message, for which a client has limited time.
func (c *conn) first(ctx context.Context) (wire.ClientMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.h.cfg.Begin)
	defer cancel()
	c.socket.SetReadLimit(wire.MaxControlSize + 1) // who has no session sends no media
	kind, r, err := c.socket.Reader(ctx)
	if err != nil {
		return nil, lost(err)
	}
	defer c.socket.SetReadLimit(c.h.cfg.Message)
	if kind != websocket.MessageText {
		return nil, wire.Errorf(wire.BadMessage, "media bytes before start: the first message must be a text message of type start, resume or watch")
	}
	text, err := readText(r)
	if err != nil {
		return nil, err
	}
	return wire.ParseClient(text)
}

// lost is the closing of a connection that is broken already.
func lost(error) *closing { return &closing{} }

// refuse says why nothing was attached; the connection then closes.
func (c *conn) refuse(err error) error {
	if cl, ok := errors.AsType[*closing](err); ok {
		return cl
	}
	e := wire.AsError(err)
	if e.Code == wire.Internal {
		c.h.log.Error("attaching failed", "err", err)
	}
	if err := c.send(errorMessage(e, true)); err != nil {
		return err
	}
	return fatal(e)
}

// read takes messages until the connection ends or must end.
func (c *conn) read() error {
	for {
		kind, r, err := c.socket.Reader(context.Background())
		if err != nil {
			return err
		}
		c.heard.Store(int64(time.Since(c.begun)))
		switch {
		case kind == websocket.MessageBinary:
			time.Sleep(c.medias.take()) // who cuts too fine is read more slowly
			err = c.binary(r)
		case c.controls.take() > 0:
			err = c.fail(wire.Errorf(wire.Quota, "more than %d control messages per second; nothing needs so many", controlRate))
		default:
			err = c.control(r)
		}
		if err != nil {
			return err
		}
	}
}

// binary takes a binary message.
func (c *conn) binary(r io.Reader) error {
	if c.attached.Session.TakesPictures() {
		return c.takePicture(r)
	}
	return c.media(r)
}

// readText reads a control message.
func readText(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, wire.MaxControlSize+1))
	switch {
	case err != nil:
		return nil, lost(err)
	case len(text) > wire.MaxControlSize:
		return nil, wire.Errorf(wire.TooLarge, "a control message has at most %d bytes", wire.MaxControlSize)
	case !utf8.Valid(text):
		// The library does not check, RFC 6455 section 8.1 demands it.
		return nil, &closing{websocket.StatusInvalidFramePayloadData, "text is not UTF-8"}
	}
	return text, nil
}

// media takes a binary message as it arrives.
func (c *conn) media(r io.Reader) error {
	if c.buffer == nil {
		c.buffer = make([]byte, chunk)
	}
	for {
		n, err := r.Read(c.buffer)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			// Of a message that is torn the library hands out bytes that are still masked.
			// The client sends them again after resume.
			return err
		}
		c.heard.Store(int64(time.Since(c.begun)))
		if err := c.feed(c.buffer[:n]); err != nil {
			return err
		}
	}
}

func (c *conn) feed(p []byte) error {
	if err := c.mayFeed(len(p)); err != nil {
		return err
	}
	if c.attached.Feeder == nil {
		return nil
	}
	_, err := c.attached.Feeder.Write(p)
	return c.fed(err)
}

// mayFeed says whether so many bytes may be sent now. A watcher is told that it may not.
func (c *conn) mayFeed(n int) error {
	if c.attached.Feeder == nil {
		return c.complain(wire.Errorf(wire.BadMessage, "a watcher sends no media; resume the session with its token to feed it"))
	}
	if unacked := c.attached.Session.Unacked(); unacked+int64(n) > c.attached.Started.Limits.Window+chunk {
		return c.fail(wire.Errorf(wire.Quota, "%d bytes were sent beyond the last ack; the window is %d", unacked+int64(n), c.attached.Started.Limits.Window))
	}
	return nil
}

// fed says what comes of media that was not taken.
func (c *conn) fed(err error) error {
	if err == nil {
		return nil
	}
	switch e := wire.AsError(err); e.Code {
	case wire.BadMessage:
		return c.complain(e)
	case wire.Conflict:
		return nil // the session has ended; the writer says so
	case wire.TooLarge:
		c.attached.Feeder.Fail(e) // coming back would not help
		return nil
	default:
		return c.fail(e)
	}
}

// control carries out a text message.
func (c *conn) control(r io.Reader) error {
	text, err := readText(r)
	if err != nil {
		if e, ok := errors.AsType[*wire.Error](err); ok {
			return c.fail(e)
		}
		return err
	}
	m, err := wire.ParseClient(text)
	if err != nil {
		return c.deny(m, wire.AsError(err))
	}
	if p, ok := m.(*wire.Ping); ok {
		c.reply(wire.Encode(wire.Pong{Type: wire.TypePong, T: p.T}))
		return nil
	}
	if c.attached.Feeder == nil {
		return c.watcher(m)
	}
	switch m := m.(type) {
	case *wire.NextPicture:
		return c.announce(m)
	case wire.EOF:
		c.attached.Feeder.EOF()
	case wire.Cancel:
		c.attached.Session.Cancel()
	case *wire.Configure:
		if err := c.configure(m); err != nil {
			return c.deny(m, wire.AsError(err))
		}
	default:
		return c.complain(wire.Errorf(wire.BadMessage, "this connection has a session already; open another connection for another one"))
	}
	return nil
}

// configure changes the session, unless the token has expired meanwhile; what runs goes on.
func (c *conn) configure(m *wire.Configure) error {
	if err := c.caller.May(); err != nil {
		return err
	}
	c.results.set(m.Results)
	return c.attached.Session.Configure(m)
}

// watcher carries out what a connection may say that does not feed.
func (c *conn) watcher(m wire.ClientMessage) error {
	if m, ok := m.(*wire.Configure); ok && m.Sample == nil && m.Detect == nil && m.Track == nil {
		c.results.set(m.Results)
		return nil
	}
	return c.deny(m, wire.Errorf(wire.Forbidden, "a watcher only reads; resume the session with its token to change it"))
}

// deny says that a message is not carried out, and which one if it asks for a change.
func (c *conn) deny(m wire.ClientMessage, e *wire.Error) error {
	answer := newErrorMessage(e, false)
	if m, ok := m.(*wire.Configure); ok && len(m.ID) <= wire.MaxKey {
		answer.ID = m.ID
	}
	c.reply(wire.Encode(answer))
	return nil
}

// complain reports an error after which everything goes on.
func (c *conn) complain(e *wire.Error) error { return c.deny(nil, e) }

// fail reports an error after which the connection closes; the session goes on.
func (c *conn) fail(e *wire.Error) error {
	c.reply(errorMessage(e, true))
	return fatal(e)
}

func errorMessage(e *wire.Error, fatal bool) []byte { return wire.Encode(newErrorMessage(e, fatal)) }

func newErrorMessage(e *wire.Error, fatal bool) wire.ErrorMessage {
	return wire.ErrorMessage{Type: wire.TypeError, Code: e.Code, Message: e.Message, Temporary: e.Code.Info().Temporary, Fatal: fatal}
}

// detach leaves the session as it is: another connection can come back to it.
func (c *conn) detach() {
	c.attached.Reader.Close()
	if f := c.attached.Feeder; f != nil {
		f.Detach()
	}
}

// close ends the connection with a close frame. Only the first call counts.
func (c *conn) close(why *closing) {
	if why.code == 0 {
		_ = c.socket.CloseNow() // it is broken already
		return
	}
	if err := c.socket.Close(why.code, why.reason); err != nil {
		c.h.log.Debug("close", "err", err)
	}
}

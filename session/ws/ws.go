// Package ws carries a session over a WebSocket.
//
// A connection has two goroutines: one reads, always, so that pongs, cancel and
// configure are never stuck behind media; one writes, everything. Wait waits for both.
package ws

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"detections/session"
	"detections/session/wire"
)

// Hub is what a connection needs of the hub.
type Hub interface {
	Start(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error)
	Resume(ctx context.Context, principal string, m wire.Resume) (*session.Attachment, error)
	Watch(ctx context.Context, principal string, m wire.Watch) (*session.Attachment, error)
}

// Caller is who connects.
type Caller struct {
	Principal string // owns what he starts
	Sees      string // whose sessions he may watch: Principal, or hub.Everyone
	// Leave is called when the connection has ended; nil: nobody counts.
	Leave func()
	// May says why he may not start, feed or change a session (any more); nil: he may.
	May func() error
}

// Config is what a Handler is made of. Zero times take the defaults.
type Config struct {
	Hub Hub
	// Caller says who asks. Who may not even watch must not get here.
	Caller func(*http.Request) Caller
	// Refuse answers a request that is not upgraded.
	Refuse func(http.ResponseWriter, *http.Request, error)
	// Origins are host patterns of pages that may connect beside the hub's own.
	Origins []string
	// Message bounds a binary message, in bytes; default 1 MiB.
	Message int64
	// Begin is how long a client may take for its first message; default 10 s.
	Begin time.Duration
	// Write is how long a write may make no progress; default 10 s.
	Write  time.Duration
	Logger *slog.Logger
}

// Handler answers GET /v1/session.
type Handler struct {
	cfg   Config
	log   *slog.Logger
	conns sync.WaitGroup
}

// New makes a Handler.
func New(c Config) *Handler {
	if c.Message == 0 {
		c.Message = 1 << 20
	}
	if c.Begin == 0 {
		c.Begin = 10 * time.Second
	}
	if c.Write == 0 {
		c.Write = 10 * time.Second
	}
	h := &Handler{cfg: c, log: c.Logger}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return h
}

// Wait waits until every connection has ended. http.Server.Shutdown does not: it
// knows nothing of connections that were upgraded.
func (h *Handler) Wait() { h.conns.Wait() }

// ServeHTTP upgrades the request and takes the first message. The connection goes on
// after it has returned, so that what net/http needs for a request is free again: that
// is half of what a connection that only waits costs.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.conns.Add(1)
	c := h.open(w, r)
	if c == nil {
		h.conns.Done()
		return
	}
	go func() {
		defer h.conns.Done()
		defer c.left()
		c.serve()
	}()
}

// open makes a connection that has a session; nil: it was refused.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) *conn {
	if err := admit(r); err != nil {
		h.cfg.Refuse(w, r, err)
		return nil
	}
	pings := newBucket(pingRate, pingBurst)
	socket, err := websocket.Accept(slim{w}, r, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			time.Sleep(pings.take()) // in the reader: who pings too often is read more slowly
			return true
		},
		Subprotocols: []string{wire.Subprotocol}, OriginPatterns: h.cfg.Origins,
		CompressionMode: websocket.CompressionDisabled, // video does not shrink, and bombs would
	})
	if err != nil {
		h.log.Debug("upgrade refused", "err", err) // Accept has answered
		return nil
	}
	c := newConn(h, socket, h.cfg.Caller(r))
	if err := c.begin(r.Context()); err != nil {
		c.close(asClosing(err))
		c.left()
		return nil
	}
	return c
}

// left counts a connection out.
func (c *conn) left() {
	if c.caller.Leave != nil {
		c.caller.Leave()
	}
}

// slim gives a connection smaller buffers than net/http does, whose requests come and go.
type slim struct{ http.ResponseWriter }

const (
	readBuffer  = 512     // bytes: heads of frames; media is read past it
	writeBuffer = 2 << 10 // bytes: most messages fit
)

// Hijack implements http.Hijacker.
func (s slim) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil || rw.Reader.Buffered() > 0 || rw.Writer.Buffered() > 0 {
		return conn, rw, err
	}
	return conn, bufio.NewReadWriter(bufio.NewReaderSize(conn, readBuffer), bufio.NewWriterSize(conn, writeBuffer)), nil
}

// admit checks what must hold before the upgrade.
func admit(r *http.Request) error {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return wire.Errorf(wire.BadMessage, "this is a WebSocket endpoint; connect with a WebSocket client and the subprotocol %q, or POST the video to /detect/video", wire.Subprotocol)
	}
	var offered []string
	for _, v := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(v, ",") {
			if p = strings.TrimSpace(p); !strings.HasPrefix(p, "bearer.") { // a token is not repeated
				offered = append(offered, p)
			}
		}
	}
	if !slices.Contains(offered, wire.Subprotocol) {
		return wire.Errorf(wire.BadMessage, "expected the WebSocket subprotocol %q, the client offers %q", wire.Subprotocol, offered)
	}
	return nil
}

// closing is why a connection ends: the code and reason of the close frame.
type closing struct {
	code   websocket.StatusCode
	reason string
}

func (c *closing) Error() string { return c.reason }

// fatal is an error that ends the connection.
func fatal(e *wire.Error) *closing {
	info := e.Code.Info()
	return &closing{websocket.StatusCode(info.Close), string(e.Code)}
}

// asClosing tells how to close after err.
func asClosing(err error) *closing {
	if c, ok := errors.AsType[*closing](err); ok {
		return c
	}
	return &closing{websocket.StatusInternalError, string(wire.Internal)}
}

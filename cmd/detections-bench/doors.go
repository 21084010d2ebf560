//go:build cgo

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// door opens sessions in one way.
type door struct {
	name string
	open func(h *hub, ctx context.Context, start wire.Start) (*client, error)
}

var (
	webSocket = door{"WebSocket", openWebSocket}
	post      = door{"POST", openPost}
)

// client is one session as its client sees it.
type client struct {
	send func([]byte) error // media bytes
	eof  func() error
	stop func() // ends the session early
	// messages closes when the session or the connection ends; then err says why.
	messages chan message
	err      error
	// brief: of results only their type and time are read. Whoever measures the hub
	// does not want to share its cores with a parser.
	brief atomic.Bool
}

// message is what this command reads of the hub's messages.
type message struct {
	wire.ErrorMessage
	Frame   int64
	Timing  wire.Timing
	Outcome wire.Outcome
	Session string
	// Of the detections only what they are.
	Detections []struct{ Label string }

	at time.Time
}

// backlog is how many messages may wait, so that reading them costs the hub no time.
const backlog = 4096

func newClient() *client { return &client{messages: make(chan message, backlog)} }

// resultPrefix is how results begin.
var resultPrefix = []byte(`{"type":"detections",`)

// take puts a message into the channel. over is true after the end.
func (c *client) take(text []byte) (over bool) {
	m := message{at: time.Now()}
	if c.brief.Load() && bytes.HasPrefix(text, resultPrefix) {
		m.Type = wire.TypeDetections
		c.messages <- m
		return false
	}
	if c.err = json.Unmarshal(text, &m); c.err != nil {
		return true
	}
	switch {
	case m.Type == wire.TypeError:
		c.err = fmt.Errorf("%s: %s", m.Code, m.Message)
	case m.Type == wire.TypeEnd && m.Outcome == wire.Failed:
		c.err = fmt.Errorf("session failed, %s: %s", m.Code, m.Message)
	}
	c.messages <- m
	return m.Type == wire.TypeEnd
}

func openWebSocket(h *hub, ctx context.Context, start wire.Start) (*client, error) {
	conn, _, err := websocket.Dial(ctx, h.url+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	text := func(v any) error { return conn.Write(ctx, websocket.MessageText, wire.Encode(v)) }
	err = text(struct {
		Type string `json:"type"`
		wire.Start
	}{"start", start})
	if err != nil {
		return nil, errors.Join(err, conn.CloseNow())
	}
	c := newClient()
	c.send = func(p []byte) error { return conn.Write(ctx, websocket.MessageBinary, p) }
	c.eof = func() error { return text(map[string]string{"type": "eof"}) }
	c.stop = func() { _ = text(map[string]string{"type": "cancel"}) } // it may have ended
	go func() {
		defer close(c.messages)
		defer func() { _ = conn.CloseNow() }() // nothing more is read or written
		for {
			_, text, err := conn.Read(ctx)
			if err != nil {
				c.err = errors.Join(c.err, err)
				return
			}
			if c.take(text) {
				return
			}
		}
	}()
	return c, nil
}

// openPost speaks HTTP itself: so the bytes leave when they are given to send.
func openPost(h *hub, ctx context.Context, start wire.Start) (*client, error) {
	host := strings.TrimPrefix(h.url, "http://")
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	query := ""
	if start.Sample != nil {
		query = fmt.Sprintf("?fps=%v", start.Sample.FPS)
	}
	if _, err := fmt.Fprintf(conn, "POST /detect/video%s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", query, host); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c := newClient()
	var chunk []byte
	c.send = func(p []byte) error {
		chunk = append(append(fmt.Appendf(chunk[:0], "%x\r\n", len(p)), p...), "\r\n"...)
		_, err := conn.Write(chunk)
		return err
	}
	c.eof = func() error { _, err := io.WriteString(conn, "0\r\n\r\n"); return err }
	c.stop = func() { _ = conn.Close() }
	go func() {
		defer close(c.messages)
		defer conn.Close()
		err := c.readEvents(conn)
		c.err = errors.Join(c.err, err)
	}()
	return c, nil
}

func (c *client) readEvents(r io.Reader) error {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("POST /detect/video: %s: %.200s", resp.Status, text)
	}
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok && c.take([]byte(data)) {
			return nil
		}
	}
}

// pacer sends bytes at a rate and remembers when it sent one of them.
type pacer struct {
	rate float64 // bytes per second; 0: as fast as possible
	mark int64   // a chunk ends with this byte

	mu     sync.Mutex
	sent   int64     // guarded by mu
	marked time.Time // guarded by mu: when the chunk with the mark was given to the socket
}

const (
	pace     = 10 * time.Millisecond // between chunks
	maxChunk = 256 << 10
)

// run sends everything, or as much as it can until ctx is done.
func (p *pacer) run(ctx context.Context, c *client, media []byte) error {
	begin := time.Now()
	for at := 0; at < len(media); {
		next := min(len(media), at+maxChunk)
		if p.rate > 0 {
			next = min(next, int(p.rate*time.Since(begin).Seconds()))
		}
		if p.mark > int64(at) {
			next = min(next, int(p.mark))
		}
		if next > at {
			p.note(int64(next))
			if err := c.send(media[at:next]); err != nil {
				return err
			}
			at = next
		}
		if p.rate == 0 || at == int(p.mark) {
			continue
		}
		select {
		case <-time.After(pace):
		case <-ctx.Done():
			return nil
		}
	}
	return c.eof()
}

func (p *pacer) note(sent int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = sent
	if sent == p.mark {
		p.marked = time.Now()
	}
}

// markedAt is when the mark was sent, or will be.
func (p *pacer) markedAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.marked.IsZero() {
		return time.Now().Add(time.Duration(float64(p.mark-p.sent) / p.rate * float64(time.Second)))
	}
	return p.marked
}

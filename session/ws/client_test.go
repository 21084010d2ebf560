package ws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// client is one connection of a well-behaved client.
type client struct {
	t       *testing.T
	conn    *websocket.Conn
	started message
	log     []message // all that came, in order
}

// message is anything from the hub.
type message struct {
	Type       wire.Type
	Offset     uint64
	Bytes      int64
	Session    string
	Token      string
	Epoch      string
	Recovered  bool
	Known      bool
	ID         string
	Frame      int64
	Code       wire.Code
	Message    string
	Temporary  bool
	Fatal      bool
	Outcome    wire.Outcome
	State      wire.StateName
	Action     string
	SHA256     string `json:"media_sha256"`
	T          json.RawMessage
	Detections []wire.Detection
	Accounting wire.Accounting
	Limits     wire.StartedLimits
	Sample     wire.Sample
	raw        string
}

func (d *door) dial(t *testing.T) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, d.URL, &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() }) // it may be closed
	return &client{t: t, conn: conn}
}

// begin opens a connection with its first message and waits for started.
func (d *door) begin(t *testing.T, first string) *client {
	t.Helper()
	c := d.dial(t)
	c.say(first)
	c.started = c.until(wire.TypeStarted)
	return c
}

func (c *client) say(text string) {
	c.t.Helper()
	c.write(websocket.MessageText, []byte(text))
}

func (c *client) send(p []byte) {
	c.t.Helper()
	c.write(websocket.MessageBinary, p)
}

func (c *client) write(kind websocket.MessageType, p []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.conn.Write(ctx, kind, p); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read takes one message.
func (c *client) read() (message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, text, err := c.conn.Read(ctx)
	if err != nil {
		return message{}, err
	}
	var m message
	if err := json.Unmarshal(text, &m); err != nil || kind != websocket.MessageText || bytes.ContainsRune(text, '\n') {
		c.t.Fatalf("%v message %q: %v", kind, text, err)
	}
	m.raw = string(text)
	c.log = append(c.log, m)
	return m, nil
}

// until reads up to the first message of a type.
func (c *client) until(want wire.Type) message {
	c.t.Helper()
	return c.untilThat(string(want), func(m message) bool { return m.Type == want })
}

func (c *client) untilThat(what string, ok func(message) bool) message {
	c.t.Helper()
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v; so far %s", what, err, c.seen())
		}
		if ok(m) {
			return m
		}
	}
}

// saw is untilThat for what may have come already.
func (c *client) saw(what string, ok func(message) bool) {
	c.t.Helper()
	if !slices.ContainsFunc(c.log, ok) {
		c.untilThat(what, ok)
	}
}

// closed reads up to the close and checks its code.
func (c *client) closed(want websocket.StatusCode) {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			if got := websocket.CloseStatus(err); got != want {
				c.t.Fatalf("closed %d (%v), want %d; came: %s", got, err, want, c.seen())
			}
			return
		}
	}
}

// events are the numbered messages that came.
func (c *client) events() []string {
	var all []string
	for _, m := range c.log {
		if m.Offset > 0 && m.Type != wire.TypeProgress && m.Type != wire.TypeStarted {
			all = append(all, m.raw)
		}
	}
	return all
}

func (c *client) seen() string {
	var b bytes.Buffer
	for _, m := range c.log[max(0, len(c.log)-10):] {
		fmt.Fprintf(&b, "\n  %.300s", m.raw)
	}
	return b.String()
}

// works does a small session on a new connection: the hub is unharmed.
func (d *door) works(t *testing.T) {
	t.Helper()
	c := d.begin(t, `{"type":"start"}`)
	c.send(video(3))
	c.say(`{"type":"eof"}`)
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 3 {
		t.Errorf("the next session: %s", end.raw)
	}
	c.closed(websocket.StatusNormalClosure)
}

func decode(t *testing.T, text []byte, m *message) {
	t.Helper()
	if err := json.Unmarshal(text, m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
}

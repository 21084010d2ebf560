package ws_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// raw is a client that knows no manners: it writes the frames it is told to, and
// answers nothing.
type raw struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
	fin      = 0x80
)

func (d *door) raw(t *testing.T) *raw {
	t.Helper()
	c, answer := d.upgrade(t, "")
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v", answer.Status)
	}
	return c
}

// upgrade asks for a WebSocket, with more headers.
func (d *door) upgrade(t *testing.T, more string) (*raw, *http.Response) {
	t.Helper()
	narrow := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	conn, err := narrow.DialContext(context.Background(), "tcp", d.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &raw{conn, t, bufio.NewReader(conn)}
	c.bytes([]byte("GET / HTTP/1.1\r\nHost: " + conn.RemoteAddr().String() + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: " + wire.Subprotocol + "\r\n" + more + "\r\n"))
	answer, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, answer
}

func (c *raw) bytes(p []byte) {
	c.t.Helper()
	if _, err := c.Write(p); err != nil {
		c.t.Fatal(err)
	}
}

// head writes a frame's header for n bytes, with a mask of zeros.
func (c *raw) head(first byte, n uint64) {
	c.t.Helper()
	h := append([]byte{first, 0x80 | 127}, binary.BigEndian.AppendUint64(nil, n)...)
	c.bytes(append(h, 0, 0, 0, 0))
}

func (c *raw) frame(first byte, p []byte) {
	c.t.Helper()
	c.head(first, uint64(len(p)))
	c.bytes(p)
}

// read takes one frame; the hub's are never fragmented.
func (c *raw) read() (op byte, p []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c.r, head); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	switch n {
	case 127:
		length := make([]byte, 8)
		if _, err := io.ReadFull(c.r, length); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint64(length))
	case 126:
		length := make([]byte, 2)
		if _, err := io.ReadFull(c.r, length); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(length))
	}
	p = make([]byte, n)
	_, err = io.ReadFull(c.r, p)
	return head[0] & 0xF, p, err
}

// closed reads up to the close frame and checks its code.
func (c *raw) closed(want websocket.StatusCode) {
	c.t.Helper()
	for {
		op, p, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for close %d: %v", want, err)
		}
		if op == opClose {
			if got := binary.BigEndian.Uint16(p); got != uint16(want) {
				c.t.Errorf("closed %d %q, want %d", got, p[2:], want)
			}
			return
		}
	}
}

// say sends a text and waits for the next one from the hub.
func (c *raw) say(text string) []byte {
	c.t.Helper()
	c.frame(fin|opText, []byte(text))
	return c.text()
}

// text reads up to the next text.
func (c *raw) text() []byte {
	c.t.Helper()
	for {
		op, p, err := c.read()
		if err != nil || op == opClose {
			c.t.Fatalf("closed: %q, %v", p, err)
		}
		if op == opText {
			return p
		}
	}
}

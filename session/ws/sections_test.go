package ws_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"detections/hub"
)

// The cases below are frames, byte by byte, and what the hub must do: they are named
// after the sections of Autobahn's suite. The hub echoes no messages, but it answers a
// ping message with the same t, and counts the bytes of media.

// frame is one as it goes over the wire.
type frame struct {
	first   byte // fin, reserved bits, opcode
	payload []byte
	length  uint64 // said instead of the payload's, if not 0
	bare    bool   // without a mask
}

func (f frame) bytes() []byte {
	n := uint64(len(f.payload))
	if f.length != 0 {
		n = f.length
	}
	mask := byte(0x80)
	if f.bare {
		mask = 0
	}
	b := []byte{f.first}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), n)
	}
	if f.bare {
		return append(b, f.payload...)
	}
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, key[:]...)
	for i, c := range f.payload {
		b = append(b, c^key[i%4])
	}
	return b
}

func of(first byte, payload string) frame { return frame{first: first, payload: []byte(payload)} }

// echo is a message that is answered with the same t, filled up to n bytes.
func echo(t string, n int) string {
	text := `{"type":"ping","t":"` + t + `"}`
	return text + strings.Repeat(" ", max(0, n-len(text)))
}

// cut makes n fragments of a message.
func cut(op byte, text string, n int) (all []frame) {
	for i := range n {
		f := of(0, text[len(text)*i/n:len(text)*(i+1)/n])
		if i == 0 {
			f.first = op
		}
		if i == n-1 {
			f.first |= fin
		}
		all = append(all, f)
	}
	return all
}

// reply is what must come; in this order, with messages of the session in between.
type reply struct {
	op byte
	// of a text the t that is echoed; of a close the code, 0: none
	text string
	code uint16
}

// gone is a connection that ends without a word.
var gone = reply{op: opClose, text: "gone"}

func pong(p string) reply      { return reply{op: opPong, text: p} }
func echoed(t string) reply    { return reply{op: opText, text: t} }
func closes(code uint16) reply { return reply{op: opClose, code: code} }
func all(r ...reply) []reply   { return r }
func send(f ...frame) []frame  { return f }
func text(s string) frame      { return of(fin|opText, s) }
func bin(n int) frame          { return of(fin|opBinary, string(video(n/piece + 1)[:n])) }
func closing(code uint16, reason string) frame {
	return of(fin|opClose, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

type wsCase struct {
	name  string
	send  []frame
	want  []reply // and if there is no close, the connection lives on
	media int64   // bytes that must have come
	chop  int     // bytes in one write; 0: all at once
	fresh bool    // without a session
}

func framingCases() (cs []wsCase) {
	for i, n := range []int{0, 125, 126, 127, 128, 65_535, 65_536} {
		c := wsCase{name: fmt.Sprintf("1.1.%d text of %d", i+1, n), send: send(text(echo("a", n)))}
		if n > 0 {
			c.want = all(echoed("a"))
		} else {
			c.send = send(text(""))
		}
		cs = append(cs, c, wsCase{name: fmt.Sprintf("1.2.%d binary of %d", i+1, n), send: send(bin(n)), media: int64(n)})
	}
	for name, f := range map[string]frame{"text": text(echo("a", 0)), "binary": bin(5), "ping": of(fin|opPing, "a"), "close": closing(1000, "")} {
		f.bare = true
		cs = append(cs, wsCase{name: "1.3 " + name + " without a mask", send: send(f), want: all(gone)})
	}
	return append(cs,
		wsCase{name: "1.1.8 text in pieces of 997", send: send(text(echo("a", 65_536))), chop: 997, want: all(echoed("a"))},
		wsCase{name: "1.2.8 binary in pieces of 997", send: send(bin(65_536)), chop: 997, media: 65_536},
	)
}

func pingCases() []wsCase {
	ten := func(chop int) wsCase {
		c := wsCase{name: fmt.Sprintf("2.10 ten pings in pieces of %d", chop), chop: chop}
		for i := range 10 {
			c.send, c.want = append(c.send, of(fin|opPing, fmt.Sprint("p", i))), append(c.want, pong(fmt.Sprint("p", i)))
		}
		return c
	}
	full := strings.Repeat("\xfe", 125)
	return []wsCase{
		{name: "2.1 ping", send: send(of(fin|opPing, "")), want: all(pong(""))},
		{name: "2.2 ping with text", send: send(of(fin|opPing, "hello")), want: all(pong("hello"))},
		{name: "2.3 ping with bytes", send: send(of(fin|opPing, "\x00\xff\xfe")), want: all(pong("\x00\xff\xfe"))},
		{name: "2.4 ping of 125", send: send(of(fin|opPing, full)), want: all(pong(full))},
		{name: "2.5 ping of 126", send: send(of(fin|opPing, full+"x")), want: all(closes(1002))},
		{name: "2.6 ping of 125, byte by byte", send: send(of(fin|opPing, full)), want: all(pong(full)), chop: 1},
		{name: "2.7 pong that nobody asked for", send: send(of(fin|opPong, ""))},
		{name: "2.8 pong with bytes that nobody asked for", send: send(of(fin|opPong, "hello"))},
		{name: "2.9 pong, then ping", send: send(of(fin|opPong, "x"), of(fin|opPing, "y")), want: all(pong("y"))},
		{name: "2.12 pong of 126", send: send(of(fin|opPong, full+"x")), want: all(closes(1002))},
		ten(0), ten(1),
	}
}

func reservedCases() (cs []wsCase) {
	for rsv := range byte(7) {
		for name, f := range map[string]frame{"text": text(echo("b", 0)), "binary": bin(10), "ping": of(fin|opPing, "b"), "close": closing(1000, "")} {
			f.first |= (rsv + 1) << 4
			cs = append(cs, wsCase{name: fmt.Sprintf("3.%d reserved bits with %s", rsv+1, name), send: send(text(echo("a", 0)), f), want: all(echoed("a"), closes(1002))})
		}
	}
	return cs
}

func opcodeCases() (cs []wsCase) {
	for i, op := range []byte{3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF} {
		cs = append(cs,
			wsCase{name: fmt.Sprintf("4.%d.1 opcode %d", i/5+1, op), send: send(of(fin|op, "")), want: all(closes(1002))},
			wsCase{name: fmt.Sprintf("4.%d.2 opcode %d with bytes", i/5+1, op), send: send(of(fin|op, "x")), want: all(closes(1002))},
			wsCase{name: fmt.Sprintf("4.%d.3 opcode %d after a message", i/5+1, op), send: send(text(echo("a", 0)), of(fin|op, "x"), of(fin|opPing, "")), want: all(echoed("a"), closes(1002))},
		)
	}
	return cs
}

func fragmentCases() []wsCase {
	msg, ping := echo("a", 300), of(fin|opPing, "p")
	two := cut(opText, msg, 2)
	with := func(c ...any) (all []frame) {
		for _, x := range c {
			switch x := x.(type) {
			case frame:
				all = append(all, x)
			case []frame:
				all = append(all, x...)
			}
		}
		return all
	}
	many := cut(opText, echo("a", 2000), 500)
	var pinged []frame
	for i, f := range many {
		if pinged = append(pinged, f); i == 100 || i == 200 {
			pinged = append(pinged, ping)
		}
	}
	return []wsCase{
		{name: "5.1 ping in fragments", send: send(of(opPing, "a"), of(fin, "b")), want: all(closes(1002))},
		{name: "5.2 pong in fragments", send: send(of(opPong, "a"), of(fin, "b")), want: all(closes(1002))},
		{name: "5.3 text in two", send: two, want: all(echoed("a"))},
		{name: "5.4 text in two, in pieces of 7", send: two, want: all(echoed("a")), chop: 7},
		{name: "5.5 text in two, byte by byte", send: two, want: all(echoed("a")), chop: 1},
		{name: "5.6 ping between two", send: with(two[0], ping, two[1]), want: all(pong("p"), echoed("a"))},
		{name: "5.7 ping between two, in pieces", send: with(two[0], ping, two[1]), want: all(pong("p"), echoed("a")), chop: 3},
		{name: "5.8 ping between two, byte by byte", send: with(two[0], ping, two[1]), want: all(pong("p"), echoed("a")), chop: 1},
		{name: "5.9 an end without a beginning", send: send(of(fin, "x"), text(msg)), want: all(closes(1002))},
		{name: "5.10 an end without a beginning, in pieces", send: send(of(fin, "x"), text(msg)), want: all(closes(1002)), chop: 2},
		{name: "5.12 a middle without a beginning", send: send(of(0, "x"), text(msg)), want: all(closes(1002))},
		{name: "5.15 more after the end", send: with(two, of(0, "x")), want: all(echoed("a"), closes(1002))},
		{name: "5.16 the middle comes first", send: send(of(0, "x"), of(opText, "y"), of(fin, "z")), want: all(closes(1002))},
		{name: "5.18 two beginnings", send: send(of(opText, "{"), text("}")), want: all(closes(1002))},
		{name: "5.18.1 text within binary", send: send(of(opBinary, "K"), text("}")), want: all(closes(1002))},
		{name: "5.19 five hundred, and pings", send: pinged, want: all(pong("p"), pong("p"), echoed("a"))},
		{name: "5.20 five hundred, and pings, in pieces", send: pinged, want: all(pong("p"), pong("p"), echoed("a")), chop: 11},
		{name: "5.21 binary in hundred", send: cut(opBinary, string(video(50)), 100), media: 50 * piece},
		{name: "5.22 empty fragments around a message", send: with(of(opText, ""), of(0, msg), of(0, ""), of(fin, "")), want: all(echoed("a"))},
		{name: "5.23 binary of empty fragments", send: with(of(opBinary, ""), of(0, ""), of(fin, ""))},
	}
}

func utf8Cases() (cs []wsCase) {
	valid := []string{
		"Hello-µ@ßöäüàá-UTF-8!!", "κόσμε", "\u0000"[:0] + "a", "\u007f", "\u0080", "\u07ff", "\u0800", "\ufffd", "\ufffe", "\uffff", "\U00010000", "\U0010ffff",
		"\ud7ff", "\ue000", "\U0001f600", "\U0001fffe", "\U0002ffff", "\U000effff", "\ufdd0", "𠜎𠜱", "\u200b\u202e",
	}
	invalid := []string{
		"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80\xbf", "\xc0 ", "\xe0 ", "\xf0 ", "\xf8 ", "\xfc ",
		"\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xfe", "\xff", "\xfe\xfe\xff\xff",
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", "\xe0\x80\x80",
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf",
	}
	for i, v := range valid {
		cs = append(cs, wsCase{name: fmt.Sprintf("6.5.%d valid %+q", i, v), send: send(text(echo(v, 0))), want: all(echoed(v))})
	}
	for i, v := range invalid {
		cs = append(cs, wsCase{name: fmt.Sprintf("6.3.%d invalid %+q", i, v), send: send(text(echo(v, 0))), want: all(closes(1007))})
	}
	whole := echo("κόσμε 𠜎", 0)
	return append(cs,
		wsCase{name: "6.2.1 cut within letters", send: cut(opText, whole, len(whole)), want: all(echoed("κόσμε 𠜎"))},
		wsCase{name: "6.2.2 cut within letters, byte by byte", send: cut(opText, whole, len(whole)), want: all(echoed("κόσμε 𠜎")), chop: 1},
		wsCase{name: "6.4.1 invalid in the second fragment", send: cut(opText, echo("a\xed\xa0\x80", 100), 3), want: all(closes(1007))},
		wsCase{name: "6.4.2 invalid, in the first message", send: send(text(`{"type":"start","key":"` + "\xff" + `"}`)), want: all(closes(1007)), fresh: true},
		wsCase{name: "6.1 empty text in fragments", send: send(of(opText, ""), of(0, ""), of(fin, ""))},
		wsCase{name: "6.24 binary need not be valid", send: send(of(fin|opBinary, "\xff\xfe\xed\xa0\x80")), media: 5},
	)
}

func closeCases() (cs []wsCase) {
	cs = []wsCase{
		{name: "7.1.1 message, then close", send: send(text(echo("a", 0)), closing(1000, "")), want: all(echoed("a"), closes(1000))},
		{name: "7.1.2 close twice", send: send(closing(1000, ""), closing(1000, "")), want: all(closes(1000))},
		{name: "7.1.3 ping after close", send: send(closing(1000, ""), of(fin|opPing, "x")), want: all(closes(1000))},
		{name: "7.1.4 text after close", send: send(closing(1000, ""), text(echo("a", 0))), want: all(closes(1000))},
		{name: "7.1.5 close within a message", send: send(of(opText, "{"), closing(1000, ""), of(fin, "}")), want: all(closes(1000))},
		{name: "7.1.6 much media, then close", send: send(bin(60_000), closing(1000, "")), want: all(closes(1000))},
		{name: "7.3.1 close without a code", send: send(of(fin|opClose, "")), want: all(closes(0))},
		{name: "7.3.2 close with half a code", send: send(of(fin|opClose, "x")), want: all(closes(1002))},
		{name: "7.3.3 close with a code", send: send(closing(1000, "")), want: all(closes(1000))},
		{name: "7.3.4 close with a reason", send: send(closing(1000, "bye")), want: all(closes(1000))},
		{name: "7.3.5 close with a long reason", send: send(closing(1000, strings.Repeat("r", 123))), want: all(closes(1000))},
		{name: "7.3.6 close with a reason that is too long", send: send(closing(1000, strings.Repeat("r", 124))), want: all(closes(1002))},
		{name: "7.14 close in fragments", send: send(of(opClose, "\x03"), of(fin, "\xe8")), want: all(closes(1002))},
	}
	for _, code := range []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		cs = append(cs, wsCase{name: fmt.Sprintf("7.7 close %d", code), send: send(closing(code, "")), want: all(closes(code))})
	}
	for _, code := range []uint16{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		cs = append(cs, wsCase{name: fmt.Sprintf("7.9 close %d", code), send: send(closing(code, "")), want: all(closes(1002))})
	}
	return cs
}

func limitCases() []wsCase {
	// A length is only a promise: nothing is allocated for it, and what comes counts.
	huge := func(first byte, n uint64) frame {
		payload := bytes.Repeat([]byte(" "), 1<<20+1)
		if first == fin|opBinary {
			payload = video(1<<20/piece + 1)
		}
		return frame{first: first, payload: payload, length: n}
	}
	tiny := cut(opText, echo("a", 10_000), 10_000)
	return []wsCase{
		{name: "9.1 text of 64 KiB", send: send(text(echo("a", 64<<10))), want: all(echoed("a"))},
		{name: "9.2 text of a byte more", send: send(text(echo("a", 64<<10+1))), want: all(closes(1009))},
		{name: "9.3 binary of 256 KiB", send: send(bin(256 << 10)), media: 256 << 10},
		{name: "9.4 binary of 1 MiB", send: send(bin(1 << 20)), media: 1 << 20},
		{name: "9.5 binary of a byte more", send: send(bin(1<<20 + 1)), want: all(closes(1009))},
		{name: "9.6 binary of 1 MiB in fragments of 64", send: cut(opBinary, string(video(1<<20/piece)), 1<<14), media: 1 << 20 / piece * piece},
		{name: "9.7 text in ten thousand fragments", send: tiny, want: all(echoed("a"))},
		{name: "9.8 binary that says 2^40", send: send(huge(fin|opBinary, 1<<40)), want: all(closes(1009))},
		{name: "9.9 text that says 2^40", send: send(huge(fin|opText, 1<<40)), want: all(closes(1009))},
		{name: "9.10 binary that says 2^63", send: send(huge(fin|opBinary, 1<<63)), want: all(gone)},
		{name: "9.11 ping that says 2^40", send: send(huge(fin|opPing, 1<<40)), want: all(closes(1002))},
		{name: "9.12 many fragments above the limit", send: cut(opBinary, string(video(1<<20/piece+1000)), 64), want: all(closes(1009))},
		{name: "9.13 before start: text of 64 KiB", send: send(text(echo("a", 64<<10))), want: all(closes(4504)), fresh: true},
		{name: "9.14 before start: more than that", send: send(text(echo("a", 70_000))), want: all(closes(1009)), fresh: true},
		{name: "9.15 before start: text that says 2^40", send: send(huge(fin|opText, 1<<40)), want: all(closes(1009)), fresh: true},
		{name: "9.16 before start: media", send: send(bin(100)), want: all(closes(4504)), fresh: true},
	}
}

func choppedCases() (cs []wsCase) {
	for i, n := range []int{1, 2, 3, 5, 64, 1000, 4096} {
		cs = append(cs, wsCase{
			name: fmt.Sprintf("10.%d everything in pieces of %d", i+1, n), chop: n, media: 2000,
			send: append(send(bin(2000), of(fin|opPing, "p")), cut(opText, echo("a", 2000), 7)...), want: all(pong("p"), echoed("a")),
		})
	}
	return cs
}

func TestWebSocketSections(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Sessions: 1000, Linger: 10 * time.Millisecond}})
	total := 0
	for _, section := range []struct {
		name  string
		cases []wsCase
	}{
		{"1 framing", framingCases()},
		{"2 ping and pong", pingCases()},
		{"3 reserved bits", reservedCases()},
		{"4 opcodes", opcodeCases()},
		{"5 fragmentation", fragmentCases()},
		{"6 UTF-8", utf8Cases()},
		{"7 close", closeCases()},
		{"9 limits", limitCases()},
		{"10 chopped writes", choppedCases()},
	} {
		total += len(section.cases)
		t.Run(section.name, func(t *testing.T) {
			for _, c := range section.cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, d) })
			}
		})
		t.Logf("%3d cases of section %s", len(section.cases), section.name)
	}
	d.works(t)
	t.Logf("%3d cases", total)
}

func (w wsCase) run(t *testing.T, d *door) {
	c := d.raw(t)
	defer c.Close()
	var s message
	if !w.fresh {
		decode(t, c.say(`{"type":"start"}`), &s)
	}
	var all []byte
	for _, f := range w.send {
		all = append(all, f.bytes()...)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		chop := w.chop
		if chop == 0 {
			chop = len(all)
		}
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetNoDelay(true)
		}
		for len(all) > 0 {
			n, err := c.Write(all[:min(chop, len(all))])
			if err != nil {
				return // the hub may have closed
			}
			all = all[n:]
		}
	}()
	defer func() { <-sent }()
	defer c.Close()
	for i, want := range w.want {
		got := c.reply()
		if last := w.want[len(w.want)-1]; got == last && last.op == opClose {
			return // what was said right before the fault may go unanswered
		}
		if got != want {
			t.Fatalf("got %+v, want %+v", got, w.want[i:])
		}
	}
	<-sent
	c.bytes(text(echo("still here", 0)).bytes())
	if got := c.reply(); got != echoed("still here") {
		t.Fatalf("the connection should live: %+v", got)
	}
	found, _, err := d.hub.Session("tester", s.Session)
	if err != nil {
		t.Fatal(err)
	}
	if got := found.Status().Received; got != w.media {
		t.Errorf("%d bytes of media came, want %d", got, w.media)
	}
}

// reply reads up to the next frame that answers one.
func (c *raw) reply() reply {
	c.t.Helper()
	for {
		op, p, err := c.read()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return gone
		}
		if err != nil {
			c.t.Fatalf("waiting for an answer: %v", err)
		}
		switch {
		case op == opPong:
			return pong(string(p))
		case op == opClose && len(p) < 2:
			return closes(0)
		case op == opClose:
			return closes(binary.BigEndian.Uint16(p))
		case op == opText && bytes.Contains(p, []byte(`"pong"`)):
			var m struct{ T string }
			if err := json.Unmarshal(p, &m); err != nil {
				c.t.Fatalf("%s: %v", p, err)
			}
			return echoed(m.T)
		}
	}
}

// Compression is refused whatever is offered: video does not shrink, and bombs would.
func TestCompressionIsRefused(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	for _, offer := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"permessage-deflate; server_max_window_bits=8", "permessage-deflate; nonsense=1", "x-webkit-deflate-frame", "permessage-deflate, permessage-deflate; client_max_window_bits=15",
	} {
		c, answer := d.upgrade(t, "Sec-WebSocket-Extensions: "+offer+"\r\n")
		if got := answer.Header.Get("Sec-WebSocket-Extensions"); answer.StatusCode != 101 || got != "" {
			t.Errorf("12, 13: %s is answered %s with %q", offer, answer.Status, got)
			continue
		}
		c.say(`{"type":"start"}`)
		c.bytes(frame{first: fin | 0x40 | opText, payload: []byte{0xaa, 0x56, 0x02, 0x00}}.bytes())
		c.closed(1002)
	}
	d.works(t)
}

func FuzzFrames(f *testing.F) {
	for _, section := range [][]wsCase{framingCases(), pingCases(), fragmentCases(), closeCases()} {
		for _, c := range section {
			var b []byte
			for _, fr := range c.send {
				b = append(b, fr.bytes()...)
			}
			if len(b) < 2000 {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, wild []byte) {
		d := newDoor(t, options{limits: hub.Limits{Linger: time.Millisecond}})
		c := d.raw(t)
		c.say(`{"type":"start"}`)
		_, _ = c.Write(wild) // the hub may close on the way
		c.Close()
		d.works(t)
	})
}

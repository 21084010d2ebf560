package ws_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/hub"
	"detections/session/wire"
)

func TestBadFirstMessage(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	for say, want := range map[string]struct {
		code  wire.Code
		close websocket.StatusCode
		words string
	}{
		`{"type":"start"`:   {wire.BadMessage, 4504, "not valid JSON"},
		`"start"`:           {wire.BadMessage, 4504, "one JSON object"},
		`{}`:                {wire.BadMessage, 4504, `no "type"`},
		`{"type":"stream"}`: {wire.BadMessage, 4504, `unknown type "stream"`},
		`{"type":"eof"}`:    {wire.BadMessage, 4504, "start, resume or watch as the first message"},
		`{"type":"start","sample":{"fps":0.1,"every":3}}`:       {wire.BadMessage, 4504, "sample"},
		`{"type":"resume","session":"no","token":"t"}`:          {wire.UnknownSession, 4505, `no session "no"`},
		`{"type":"watch","session":"gone","offset":3}`:          {wire.UnknownSession, 4505, `no session "gone"`},
		`{"type":"start","key":"` + strings.Repeat("k", 66_000): {wire.TooLarge, 1009, "65536 bytes"},
		"binary": {wire.BadMessage, 4504, "before start"},
	} {
		c := d.dial(t)
		if say == "binary" {
			c.send(video(1))
		} else {
			c.say(say)
		}
		if m := c.until(wire.TypeError); m.Code != want.code || !m.Fatal || m.Temporary || !strings.Contains(m.Message, want.words) {
			t.Errorf("%.60s: %s", say, m.raw)
		}
		c.closed(want.close)
		d.works(t)
	}
}

func TestBadMessageDoesNotEndTheSession(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start"}`)
	c.send(video(1))
	for say, words := range map[string]string{
		`{"type":`:                       "not valid JSON",
		`{"type":"pause"}`:               `unknown type "pause"`,
		`{"type":"start"}`:               "has a session already",
		`{"type":"watch","session":"s"}`: "has a session already",
		`{"type":"configure","detect":{"threshold":7}}`: "detect.threshold: expected 0.01 to 1, got 7",
	} {
		c.say(say)
		if m := c.until(wire.TypeError); m.Code != wire.BadMessage || m.Fatal || !strings.Contains(m.Message, words) {
			t.Errorf("%s: %s", say, m.raw)
		}
	}
	c.send(video(1))
	c.say(`{"type":"eof"}`)
	c.send(video(1))
	if m := c.until(wire.TypeError); m.Code != wire.BadMessage || m.Fatal || !strings.Contains(m.Message, "100 bytes came after eof") {
		t.Errorf("bytes after eof: %s", m.raw)
	}
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 2 || end.Bytes != 2*piece {
		t.Errorf("end: %s", end.raw)
	}
	c.closed(websocket.StatusNormalClosure)
	d.works(t)
}

func TestBadFrames(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Message: 70_000}})
	for name, bad := range map[string]struct {
		do    func(c *raw)
		close websocket.StatusCode
	}{
		"text that is not UTF-8": {func(c *raw) { c.frame(fin|opText, []byte("{\"type\":\"\xff\"}")) }, 1007},
		"binary too long":        {func(c *raw) { c.head(fin|opBinary, 70_001); c.bytes(video(701)[:70_001]) }, 1009},
		"text too long":          {func(c *raw) { c.frame(fin|opText, bytes.Repeat([]byte(" "), 66_000)) }, 1009},
		"reserved opcode":        {func(c *raw) { c.frame(fin|0x3, nil) }, 1002},
		"reserved bit":           {func(c *raw) { c.frame(fin|0x40|opText, []byte("{}")) }, 1002},
		"long ping":              {func(c *raw) { c.frame(fin|opPing, make([]byte, 126)) }, 1002},
	} {
		t.Run(name, func(t *testing.T) {
			c := d.raw(t)
			c.say(`{"type":"start"}`)
			bad.do(c)
			c.closed(bad.close)
			c.Close()
			d.works(t)
		})
	}
}

func TestMediaThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	for units, want := range map[string]struct {
		code  wire.Code
		close websocket.StatusCode
		done  int64
	}{
		"text": {wire.UnsupportedMedia, 4501, 0}, "": {wire.UnsupportedMedia, 4501, 0},
		"KKK!KK": {wire.DecodeFailed, 4502, 3}, "K#": {wire.DecodeStalled, 4502, 1}, "xx": {wire.DecodeFailed, 4502, 0},
	} {
		c := d.begin(t, `{"type":"start"}`)
		c.send(script(units))
		c.say(`{"type":"eof"}`)
		if end := c.until(wire.TypeEnd); end.Outcome != wire.Failed || end.Code != want.code || end.Message == "" || end.Accounting.Inferred != want.done {
			t.Errorf("%s: %s", units, end.raw)
		}
		c.closed(want.close)
		d.works(t)
	}
	c := d.begin(t, `{"type":"start","media":{"sha256":"`+strings.Repeat("0", 64)+`"}}`)
	c.send(video(2))
	c.say(`{"type":"eof"}`)
	if end := c.until(wire.TypeEnd); end.Code != wire.HashMismatch || end.Accounting.Inferred != 2 || end.SHA256 == "" {
		t.Errorf("another hash: %s", end.raw)
	}
	c.closed(4502)
}

func TestClientThatDoesNotWaitForAcks(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Window: 64 << 10}})
	c := d.begin(t, `{"type":"start"}`)
	go func() {
		for c.conn.Write(t.Context(), websocket.MessageBinary, video(600)) == nil {
		}
	}()
	if m := c.until(wire.TypeError); m.Code != wire.Quota || !m.Fatal || !strings.Contains(m.Message, "beyond the last ack; the window is 65536") {
		t.Errorf("error: %s", m.raw)
	}
	c.closed(4503)
	d.works(t)
}

func TestClientGoneMidChunk(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.raw(t)
	var s message
	decode(t, c.say(`{"type":"start"}`), &s)
	c.head(fin|opBinary, 400*piece)
	c.bytes(video(400)[:200*piece])
	w := d.begin(t, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, s.Session))
	w.untilThat("frame 150", func(m message) bool { return m.Frame == 150 }) // what came of a message counts, if it is enough
	c.Close()
	w.untilThat("lingering", func(m message) bool { return m.State == wire.Lingering })
	d.works(t)
	back := d.begin(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":0}`, s.Session, s.Token, s.Epoch))
	if n := back.started.Bytes; n < 151*piece || n > 200*piece {
		t.Errorf("started: %s", back.started.raw)
	}
	back.send(video(400)[back.started.Bytes:])
	back.say(`{"type":"eof"}`)
	if end := back.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 400 {
		t.Errorf("end: %s", end.raw)
	}
}

func TestHeartbeatLost(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.raw(t)
	begun := time.Now()
	c.say(`{"type":"start","heartbeat_ms":1000}`)
	c.closed(4002) // it answered no ping
	if dur := time.Since(begun); dur < 2900*time.Millisecond {
		t.Errorf("lost after %v, want three heartbeats of a second", dur)
	}
	d.works(t)
}

func TestSlowMessageIsASignOfLife(t *testing.T) {
	t.Parallel()
	c := newDoor(t, options{}).raw(t)
	c.say(`{"type":"start","heartbeat_ms":1000,"sample":{"every":5000}}`)
	media := video(10_000)
	c.head(fin|opBinary, uint64(len(media))) // no pong can come before its end
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for part := range slices.Chunk(media, len(media)/36) {
		<-tick.C
		c.bytes(part)
	}
	for answer := c.say(`{"type":"ping"}`); !bytes.Contains(answer, []byte("pong")); {
		answer = c.text()
	}
}

func TestSilentClientIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{begin: 50 * time.Millisecond})
	c := d.raw(t)
	if _, err := io.ReadAll(c.r); err != nil {
		t.Error(err)
	}
}

func TestSlowReaderDisturbsNobody(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{write: time.Second})
	slow, feeder := d.raw(t), d.begin(t, `{"type":"start"}`)
	var s message
	decode(t, slow.say(`{"type":"start"}`), &s)
	slow.frame(fin|opBinary, video(2000)) // and reads nothing of what comes
	watcher := d.begin(t, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, s.Session))
	watcher.untilThat("frame 1999", func(m message) bool { return m.Frame == 1999 })
	feeder.send(video(20))
	feeder.say(`{"type":"eof"}`)
	if end := feeder.until(wire.TypeEnd); end.Accounting.Inferred != 20 {
		t.Errorf("end: %s", end.raw)
	}
	// The slow one is cut off, its session waits for it.
	watcher.saw("lingering", func(m message) bool { return m.State == wire.Lingering })
	back := d.begin(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":2000}`, s.Session, s.Token, s.Epoch))
	back.say(`{"type":"eof"}`)
	if end := back.until(wire.TypeEnd); end.Offset != 2002 || len(back.events()) != 2 {
		t.Errorf("after the resume %d events: %s", len(back.events()), end.raw)
	}
}

func TestRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	for protocol, words := range map[string]string{
		"v1": `expected the WebSocket subprotocol "detections.v1", the client offers ["v1"]`, "chat, other": `offers ["chat" "other"]`,
	} {
		_, answer, err := websocket.Dial(t.Context(), d.URL, &websocket.DialOptions{Subprotocols: strings.Split(protocol, ", ")})
		if err == nil || answer == nil || answer.StatusCode != http.StatusBadRequest {
			t.Fatalf("subprotocol %q: %v, %v", protocol, answer, err)
		}
		if body, _ := io.ReadAll(answer.Body); !strings.Contains(string(body), words) {
			t.Errorf("subprotocol %q: %s", protocol, body)
		}
	}
	answer, err := d.Client().Get(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "WebSocket endpoint") {
		t.Errorf("plain GET: %d %s", answer.StatusCode, body)
	}
	d.works(t)
}

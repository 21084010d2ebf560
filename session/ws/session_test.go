package ws_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/hub"
	"detections/session/wire"
)

func TestDetectionsWhileBytesAreStillSent(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start","media":{"name":"a.mp4"}}`)
	if s := c.started; s.Session == "" || s.Token == "" || s.Epoch == "" || s.Offset != 0 || !s.Recovered || s.Limits.Window == 0 || s.Limits.Message == 0 {
		t.Fatalf("started: %s", s.raw)
	}
	if m := c.until(wire.TypeConfigured); m.Offset != 1 || m.Frame != 0 || !m.Sample.All {
		t.Fatalf("configured: %s", m.raw)
	}
	media, sent, acked := video(20), 0, int64(0)
	for n := range 20 { // each frame is answered before the next one is sent
		c.send(media[sent : sent+piece])
		sent += piece
		m := c.untilThat("detections", func(m message) bool {
			if m.Type == wire.TypeAck {
				if m.Bytes > int64(sent) || m.Bytes <= acked {
					t.Fatalf("ack %d after %d with %d bytes sent", m.Bytes, acked, sent)
				}
				acked = m.Bytes
			}
			return m.Type == wire.TypeDetections
		})
		if m.Frame != int64(n) || m.Offset != uint64(n+2) || len(m.Detections) != 1 {
			t.Fatalf("frame %d: %s", n, m.raw)
		}
	}
	for acked < int64(sent) {
		acked = c.until(wire.TypeAck).Bytes
	}
	c.say(`{"type":"eof"}`)
	end := c.until(wire.TypeEnd)
	sum := sha256.Sum256(media)
	if a := end.Accounting; end.Outcome != wire.Done || end.Offset != 22 || end.Bytes != int64(sent) || end.SHA256 != hex.EncodeToString(sum[:]) ||
		a.Decoded != 20 || a.Inferred != 20 || a.Pending != 0 || a.Skipped != 0 {
		t.Errorf("end: %s", end.raw)
	}
	c.closed(websocket.StatusNormalClosure)
}

func TestProgressAndStates(t *testing.T) {
	t.Parallel()
	c := newDoor(t, options{}).begin(t, `{"type":"start","media":{"size":1000}}`)
	if m := c.until(wire.TypeState); m.State != wire.WaitingForBytes {
		t.Errorf("state: %s", m.raw)
	}
	c.send(video(5))
	if m := c.until(wire.TypeState); m.State != wire.Running {
		t.Errorf("state: %s", m.raw)
	}
	m := c.until(wire.TypeProgress)
	var p wire.Progress
	if err := json.Unmarshal([]byte(m.raw), &p); err != nil || p.Offset != 6 || p.Bytes != 500 || p.Accounting.Inferred != 5 || *p.Percent != 50 || p.ETA == nil {
		t.Errorf("progress: %s, %v", m.raw, err)
	}
}

func TestConfigureMidWay(t *testing.T) {
	t.Parallel()
	c := newDoor(t, options{}).begin(t, `{"type":"start"}`)
	c.send(video(4))
	c.untilThat("frame 3", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 3 })
	c.say(`{"type":"configure","id":"every other","sample":{"every":2}}`)
	c.say(`{"type":"ping"}`)
	c.until(wire.TypePong) // it was taken
	c.send(video(6))
	if m := c.until(wire.TypeConfigured); m.ID != "every other" || m.Frame != 4 || m.Offset != 6 || m.Sample.Every != 2 {
		t.Fatalf("configured: %s", m.raw)
	}
	for id, refused := range map[string]string{
		"unknown":      `"detect":{"labels":["unicorn"]}`,
		"out of range": `"detect":{"threshold":7}`,
		"no number":    `"sample":{"every":"each"}`,
		"":             `"detect":{"iou":7}`,
	} {
		c.say(fmt.Sprintf(`{"type":"configure","id":%q,%s}`, id, refused))
		if m := c.until(wire.TypeError); m.Code != wire.BadMessage || m.Fatal || m.ID != id {
			t.Errorf("%s: %s", refused, m.raw)
		}
	}
	c.say(`{"type":"eof"}`)
	if end := c.until(wire.TypeEnd); end.Accounting.Inferred != 7 || end.Accounting.Skipped != 3 {
		t.Errorf("end: %s", end.raw)
	}
}

func TestCancelKeepsWhatWasFound(t *testing.T) {
	t.Parallel()
	c := newDoor(t, options{}).begin(t, `{"type":"start"}`)
	c.send(video(3))
	c.untilThat("frame 2", func(m message) bool { return m.Type == wire.TypeDetections && m.Frame == 2 })
	c.say(`{"type":"cancel"}`)
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Cancelled || end.Code != "" || end.Accounting.Inferred != 3 {
		t.Errorf("end: %s", end.raw)
	}
	c.closed(websocket.StatusNormalClosure)
}

func TestPingIsAnsweredWithItsT(t *testing.T) {
	t.Parallel()
	c := newDoor(t, options{}).begin(t, `{"type":"start"}`)
	for _, want := range []string{`17.5`, `"a"`, `{"n":[1,2]}`} {
		c.say(`{"type":"ping","t":` + want + `}`)
		if m := c.until(wire.TypePong); string(m.T) != want {
			t.Errorf("pong: %s, want %s", m.raw, want)
		}
	}
	c.say(`{"type":"ping"}`)
	if m := c.until(wire.TypePong); m.T != nil {
		t.Errorf("pong: %s", m.raw)
	}
}

func TestOnlyNonEmptyResults(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start","results":"nonempty","detect":{"labels":["green"]}}`)
	c.send(video(9)) // the squares are blue, green, red, blue, …
	c.say(`{"type":"eof"}`)
	end := c.until(wire.TypeEnd)
	var frames []int64
	for _, m := range c.log {
		if m.Type == wire.TypeDetections {
			frames = append(frames, m.Frame)
		}
	}
	if !slices.Equal(frames, []int64{1, 4, 7}) || end.Offset != 11 || end.Accounting.Inferred != 9 {
		t.Errorf("frames %v, %s", frames, end.raw)
	}
}

func TestWatcherSeesTheSameBytes(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	feeder := d.begin(t, `{"type":"start"}`)
	feeder.send(video(10))
	feeder.untilThat("frame 4", func(m message) bool { return m.Frame == 4 })
	watch := `{"type":"watch","session":%q,"epoch":%q,"offset":%d}`
	early := d.begin(t, fmt.Sprintf(watch, feeder.started.Session, feeder.started.Epoch, 0))
	middle := d.begin(t, fmt.Sprintf(watch, feeder.started.Session, feeder.started.Epoch, 5))
	feeder.send(video(10))
	feeder.say(`{"type":"eof"}`)
	feeder.closed(websocket.StatusNormalClosure)
	early.closed(websocket.StatusNormalClosure)
	middle.closed(websocket.StatusNormalClosure)
	late := d.begin(t, fmt.Sprintf(watch, feeder.started.Session, "", 0))
	late.closed(websocket.StatusNormalClosure)
	want := feeder.events()
	if len(want) != 22 || !slices.Equal(early.events(), want) || !slices.Equal(late.events(), want) || !slices.Equal(middle.events(), want[5:]) {
		t.Errorf("feeder saw %d events, watchers %d, %d, %d", len(want), len(early.events()), len(late.events()), len(middle.events()))
	}
	if early.started.Token != "" {
		t.Error("a watcher was given the feeder's token")
	}
	if void := d.begin(t, fmt.Sprintf(watch, feeder.started.Session, "other", 7)).started; void.Recovered || void.Offset != 0 {
		t.Errorf("watch of another epoch: %s", void.raw)
	}
}

func TestWatcherOnlyReads(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	feeder := d.begin(t, `{"type":"start"}`)
	w := d.begin(t, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, feeder.started.Session))
	for say, code := range map[string]wire.Code{
		`{"type":"cancel"}`: wire.Forbidden, `{"type":"eof"}`: wire.Forbidden, `{"type":"configure","sample":{"every":2}}`: wire.Forbidden,
	} {
		w.say(say)
		if m := w.until(wire.TypeError); m.Code != code || m.Fatal {
			t.Errorf("%s: %s", say, m.raw)
		}
	}
	w.send(video(1))
	if m := w.until(wire.TypeError); m.Code != wire.BadMessage || m.Fatal {
		t.Errorf("media: %s", m.raw)
	}
	w.say(`{"type":"configure","results":"nonempty"}`)
	feeder.send(video(2))
	feeder.say(`{"type":"eof"}`)
	if end := w.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 2 {
		t.Errorf("end: %s", end.raw)
	}
}

func TestResumeAfterAnAbruptDisconnect(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	first := d.begin(t, `{"type":"start"}`)
	media := video(20)
	first.send(media[:7*piece+30])
	last := first.untilThat("frame 4", func(m message) bool { return m.Frame == 4 })
	_ = first.conn.CloseNow() // abruptly
	resume := func(token string) string {
		return fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":%d}`, first.started.Session, token, first.started.Epoch, last.Offset)
	}
	thief := d.dial(t)
	thief.say(resume("guess"))
	if m := thief.until(wire.TypeError); m.Code != wire.Forbidden || !m.Fatal {
		t.Errorf("wrong token: %s", m.raw)
	}
	thief.closed(4500)

	second := d.begin(t, resume(first.started.Token))
	if s := second.started; !s.Recovered || s.Offset != last.Offset || s.Bytes != 7*piece+30 {
		t.Fatalf("started: %s", s.raw)
	}
	second.send(media[second.started.Bytes:])
	second.say(`{"type":"eof"}`)
	second.closed(websocket.StatusNormalClosure)

	whole := d.begin(t, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, first.started.Session))
	end := whole.until(wire.TypeEnd)
	if got := append(first.events(), second.events()...); !slices.Equal(got, whole.events()) || len(got) != 22 || end.Accounting.Inferred != 20 {
		t.Errorf("before and after the gap came %d events, the session has %d: %s", len(got), len(whole.events()), end.raw)
	}
}

func TestNewerFeederEvictsTheOlder(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	first := d.begin(t, `{"type":"start","key":"k"}`)
	first.send(video(2))
	first.untilThat("frame 1", func(m message) bool { return m.Frame == 1 })
	second := d.begin(t, `{"type":"start","key":"k"}`)
	if s := second.started; s.Session != first.started.Session || s.Bytes != 2*piece || s.Offset != 0 {
		t.Fatalf("the same key: %s", s.raw)
	}
	if m := first.until(wire.TypeError); m.Code != wire.Replaced || !m.Fatal || m.Temporary {
		t.Errorf("error: %s", m.raw)
	}
	first.closed(4507)
	second.send(video(1))
	second.say(`{"type":"eof"}`)
	if end := second.until(wire.TypeEnd); end.Accounting.Inferred != 3 || len(second.events()) != 5 {
		t.Errorf("end: %s", end.raw)
	}
}

func TestDrainAsksEveryClientToResume(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start"}`)
	other := d.begin(t, `{"type":"start"}`)
	other.send(video(2))
	d.hub.BeginDrain()
	c.send(video(3)) // what runs goes on
	c.say(`{"type":"eof"}`)
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 3 {
		t.Errorf("end: %s", end.raw)
	}
	c.closed(websocket.StatusNormalClosure)
	if left := d.hub.Drain(t.Context()); left != (hub.Left{Suspended: 1}) {
		t.Errorf("left %+v", left)
	}
	if m := other.until(wire.TypeGoAway); m.Action != "resume" {
		t.Errorf("goaway: %s", m.raw)
	}
	other.closed(websocket.StatusGoingAway)
	late := d.dial(t)
	late.say(`{"type":"start"}`)
	if m := late.until(wire.TypeError); m.Code != wire.Draining || !m.Temporary || !m.Fatal {
		t.Errorf("start during the drain: %s", m.raw)
	}
	late.closed(websocket.StatusGoingAway)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Sessions: 1, Bytes: 5 * piece}})
	c := d.begin(t, `{"type":"start"}`)
	second := d.dial(t)
	second.say(`{"type":"start"}`)
	if m := second.until(wire.TypeError); m.Code != wire.Overloaded || !m.Temporary || !m.Fatal {
		t.Errorf("second session: %s", m.raw)
	}
	second.closed(4003)
	c.send(video(4))
	c.send(video(2))
	c.send(video(1)) // sent before it could know
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Failed || end.Code != wire.TooLarge || end.Accounting.Inferred != 4 || end.Bytes != 4*piece {
		t.Errorf("end: %s", end.raw)
	}
	c.closed(websocket.StatusMessageTooBig)
}

func TestTheNextSessionMayBeginAtTheEnd(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Sessions: 1}})
	for range 20 {
		c := d.begin(t, `{"type":"start"}`)
		c.send(video(1))
		c.say(`{"type":"eof"}`)
		c.until(wire.TypeEnd)
	}
}

func TestNobodyComesBack(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{limits: hub.Limits{Linger: 50 * time.Millisecond}})
	c := d.begin(t, `{"type":"start"}`)
	c.send(video(4))
	c.untilThat("frame 3", func(m message) bool { return m.Frame == 3 })
	w := d.begin(t, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, c.started.Session))
	_ = c.conn.CloseNow()
	if end := w.until(wire.TypeEnd); end.Code != wire.UploadIncomplete || end.Accounting.Inferred != 4 || !strings.Contains(end.Message, "400 bytes") {
		t.Errorf("end: %s", end.raw)
	}
	w.closed(websocket.StatusNormalClosure)
}

func TestADeletedSessionTellsItsClients(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start"}`)
	c.send(video(1))
	c.untilThat("frame 0", func(m message) bool { return m.Type == wire.TypeDetections })
	if err := d.hub.Delete(t.Context(), "tester", c.started.Session); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := c.read()
		if err != nil {
			if got := websocket.CloseStatus(err); got != 4505 && got != websocket.StatusNormalClosure {
				t.Errorf("closed %v: %v", got, err)
			}
			return // the end event may have been read before the deletion
		}
		if m.Type == wire.TypeError && m.Code != wire.UnknownSession {
			t.Errorf("error: %s", m.raw)
		}
	}
}

func TestResumeCanAskForNonEmptyResults(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	first := d.begin(t, `{"type":"start","detect":{"labels":["green"]}}`)
	second := d.begin(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":0,"results":"nonempty"}`,
		first.started.Session, first.started.Token, first.started.Epoch))
	second.send(video(3))
	second.say(`{"type":"eof"}`)
	if end := second.until(wire.TypeEnd); end.Accounting.Inferred != 3 || len(second.events()) != 3 {
		t.Errorf("%d events, end: %s", len(second.events()), end.raw)
	}
}

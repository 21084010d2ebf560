package ws_test

import (
	"fmt"
	"strings"
	"testing"

	"detections/hub"
	"detections/session/wire"
)

const livePictures = `{"type":"start","mode":"live","media":{"container":"jpeg"}}`

// One binary message is one picture, and what was said of it comes back with its result.
func TestLivePicturesComeBackWithWhatWasSaidOfThem(t *testing.T) {
	d := newDoor(t, options{})
	c := d.begin(t, livePictures)
	for i := range 5 {
		if i != 3 { // not of this one
			c.say(fmt.Sprintf(`{"type":"picture","client_ts":%d.25,"seq":%d}`, 1000+i, i))
		}
		c.send([]byte(strings.Repeat("x", 100_000)))
		m := c.until(wire.TypeDetections)
		if said := fmt.Sprintf(`"client_ts":%d.25,"seq":%d`, 1000+i, i); m.Frame != int64(i) || strings.Contains(m.raw, said) != (i != 3) || strings.Contains(m.raw, "seq") != (i != 3) {
			t.Errorf("result %s", m.raw)
		}
	}
	c.say(`{"type":"eof"}`)
	if end := c.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Decoded != 5 {
		t.Errorf("end %s", end.raw)
	}
}

func TestPicturesAreOnlyForLiveSessionsOfThem(t *testing.T) {
	d := newDoor(t, options{})
	c := d.begin(t, `{"type":"start"}`)
	c.say(`{"type":"picture","seq":1}`)
	if e := c.until(wire.TypeError); e.Code != wire.BadMessage || e.Fatal {
		t.Errorf("error %s", e.raw)
	}
}

func TestAPictureAboveTheLimitClosesTheConnection(t *testing.T) {
	d := newDoor(t, options{limits: hub.Limits{Message: 10_000}})
	c := d.begin(t, livePictures)
	c.send(make([]byte, 10_001))
	c.closed(1009)
}

// A client that comes back begins a segment, as with other live media.
func TestLivePicturesGoOnAfterALoss(t *testing.T) {
	d := newDoor(t, options{})
	c := d.begin(t, livePictures)
	c.send([]byte("one"))
	m := c.until(wire.TypeDetections)
	_ = c.conn.CloseNow() // abruptly
	again := d.begin(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":%d}`, c.started.Session, c.started.Token, c.started.Epoch, m.Offset))
	again.send([]byte("two"))
	again.until(wire.TypeSegment)
	if m := again.until(wire.TypeDetections); m.Frame != 1 {
		t.Errorf("result %s", m.raw)
	}
}

package ws_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"detections/session/wire"
)

// A live client that was cut off in the middle of a unit comes back and begins anew.
func TestLiveResumeBeginsASegment(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	first := d.begin(t, `{"type":"start","mode":"live"}`)
	first.send(video(1))
	last := first.untilThat("frame 0", func(m message) bool { return m.Type == wire.TypeDetections })
	first.send(video(1)[:piece/2])
	for first.until(wire.TypeAck).Bytes != piece*3/2 {
	}
	_ = first.conn.CloseNow() // abruptly

	second := d.begin(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":%d}`,
		first.started.Session, first.started.Token, first.started.Epoch, last.Offset))
	if s := second.started; s.Bytes != piece*3/2 || !s.Recovered {
		t.Fatalf("started: %s", s.raw)
	}
	second.send(video(1))
	var seg wire.Segment
	if m := second.until(wire.TypeSegment); json.Unmarshal([]byte(m.raw), &seg) != nil || seg.Offset != last.Offset+1 || seg.Reason != wire.Reconnected || seg.Frame != 1 {
		t.Errorf("segment: %s", m.raw)
	}
	if m := second.until(wire.TypeDetections); m.Frame != 1 || len(m.Detections) != 1 {
		t.Errorf("detections: %s", m.raw)
	}
	second.say(`{"type":"eof"}`)
	if end := second.until(wire.TypeEnd); end.Outcome != wire.Done || end.Accounting.Inferred != 2 {
		t.Errorf("end: %s", end.raw)
	}
}

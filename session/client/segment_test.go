package client_test

import (
	"bytes"
	"io"
	"testing"

	"detections/session/client"
	"detections/session/wire"
)

// A segment is an event like the others: yielded once, and counted in the offset
// from which a later connection goes on.
func TestSegmentsComeOnceAndInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	p := newProxy(t, r.url, 0)
	c := newClient(t, p.url(), client.Config{})
	media, w := io.Pipe()
	s := detect(t, t.Context(), c, media, wire.Start{Mode: wire.Live})
	more := func() { pour(w, bytes.Repeat([]byte("K"), piece)) }
	more()
	var l journal
	for e := range s.Events() {
		l.add(e)
		switch e.(type) {
		case *wire.Detections:
			switch len(l.frames) {
			case 2, 4: // a new segment, each time
				p.cut()
			case 6:
				w.Close()
			default:
				more()
			}
		case *client.Resumed:
			more()
		}
	}
	if err := s.Err(); err != nil || !l.once(10) || len(l.segments) != 2 || l.segments[1].Frame != 4 || l.segments[1].Reason != wire.Reconnected {
		t.Errorf("err %v, %+v", err, l)
	}
}

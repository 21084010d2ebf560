package ws_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/coder/websocket"

	"detections/session/wire"
)

func TestWhoKnowsTheHashNeedNotUpload(t *testing.T) {
	t.Parallel()
	d := newDoor(t, options{})
	media := video(9)
	first := d.begin(t, `{"type":"start","sample":{"every":2}}`)
	first.send(media)
	first.say(`{"type":"eof"}`)
	first.until(wire.TypeEnd)
	first.closed(websocket.StatusNormalClosure)
	again := fmt.Sprintf(`{"type":"start","sample":{"every":2},"media":{"sha256":"%x"}}`, sha256.Sum256(media))
	for _, say := range []string{"", `{"type":"eof"}`} { // to send no byte is no mistake, and needs no eof
		c := d.begin(t, again)
		if s := c.started; s.Session != first.started.Session || !s.Known || s.Bytes != int64(len(media)) {
			t.Errorf("started: %s", s.raw)
		}
		if say != "" {
			c.say(say)
		}
		c.until(wire.TypeEnd)
		if got, want := c.events(), first.events(); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		c.closed(websocket.StatusNormalClosure)
	}
}

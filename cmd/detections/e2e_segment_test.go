package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// socket is a WebSocket of the hub.
type socket struct {
	*websocket.Conn
	t   *testing.T
	ctx context.Context
}

// socket opens one with its first message, and returns the answer.
func (p *process) socket(t *testing.T, first string) (socket, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, _, err := websocket.Dial(ctx, strings.Replace(p.url, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{"detections.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() }) // it may be closed
	c.SetReadLimit(1 << 20)
	s := socket{c, t, ctx}
	s.say(websocket.MessageText, []byte(first))
	_, started, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s, string(started)
}

func (s socket) say(kind websocket.MessageType, p []byte) {
	s.t.Helper()
	if err := s.Write(s.ctx, kind, p); err != nil {
		s.t.Fatal(err)
	}
}

// until reads up to the first message of a type, and returns what it passed too.
func (s socket) until(kind string) (all []answer) {
	s.t.Helper()
	for {
		_, text, err := s.Read(s.ctx)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", kind, err)
		}
		var a answer
		if err := json.Unmarshal(text, &a); err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		if all = append(all, a); a.Type == kind {
			return all
		}
	}
}

// TestE2ELiveReconnect loses a live upload in the middle of a fragment. The client
// begins its file anew, and both parts have results.
func TestE2ELiveReconnect(t *testing.T) {
	p := serve(t)
	file := read(t, "people-frag.mp4")
	first, text := p.socket(t, `{"type":"start","mode":"live","sample":{"every":5}}`)
	var started struct{ Session, Token, Epoch string }
	if err := json.Unmarshal([]byte(text), &started); err != nil {
		t.Fatal(err)
	}
	first.say(websocket.MessageBinary, file[:len(file)*2/3])
	seen := first.until("detections")
	last := seen[len(seen)-1]
	zero := last.PTS - float64(last.Frame)*100 // the file's own
	_ = first.CloseNow()                       // abruptly

	second, _ := p.socket(t, fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":%d}`,
		started.Session, started.Token, started.Epoch, last.Offset))
	second.say(websocket.MessageBinary, file)
	second.say(websocket.MessageText, []byte(`{"type":"eof"}`))
	before := second.until("segment")
	cut := before[len(before)-1]
	after := second.until("end")
	results, persons := 0, 0
	for _, a := range after {
		if a.Type != "detections" {
			continue
		}
		results++
		persons += strings.Count(string(a.Detections), `"person"`)
		if math.Abs(a.PTS-zero-float64(a.Frame-cut.Frame)*100) > 1.5 {
			t.Errorf("frame %d at %v ms, in a segment that begins with frame %d", a.Frame, a.PTS, cut.Frame)
		}
	}
	end := after[len(after)-1]
	if persons < results || results == 0 || cut.Frame < 40 || cut.Frame > 70 || end.Outcome != "done" || end.Accounting.Decoded != cut.Frame+100 ||
		end.Bytes != int64(len(file)*2/3+len(file)) {
		t.Errorf("%d results with %d persons after frame %d, end %+v", results, persons, cut.Frame, end)
	}
}

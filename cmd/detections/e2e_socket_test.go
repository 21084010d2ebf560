package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestE2EWebSocket sends a file as a client should: never more than the window
// beyond the last ack. What comes back is what curl is told of the same file.
func TestE2EWebSocket(t *testing.T) {
	p := serve(t, "--window", "128KiB")
	file, piece := read(t, "people-frag.mp4"), 20_000
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, strings.Replace(p.url, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{"detections.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }() // it is closed
	c.SetReadLimit(1 << 20)
	say := func(kind websocket.MessageType, p []byte) {
		t.Helper()
		if err := c.Write(ctx, kind, p); err != nil {
			t.Fatal(err)
		}
	}
	say(websocket.MessageText, []byte(`{"type":"start","media":{"name":"people-frag.mp4"},"sample":{"every":5}}`))
	var got []string
	var end answer
	sent, acked := 0, 0
	for end.Type == "" {
		_, text, err := c.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		switch a.Type {
		case "ack":
			acked = int(a.Bytes)
		case "detections":
			got = append(got, string(a.Detections))
		case "error":
			t.Fatalf("%s", text)
		case "end":
			end = a
		}
		// The second half waits for the first result.
		for sent < len(file) && sent+piece <= acked+128<<10 && (sent < len(file)/2 || len(got) > 0) {
			say(websocket.MessageBinary, file[sent:min(sent+piece, len(file))])
			if sent = min(sent+piece, len(file)); sent == len(file) {
				say(websocket.MessageText, []byte(`{"type":"eof"}`))
			}
		}
	}
	if end.Outcome != "done" || end.Bytes != int64(len(file)) || end.Accounting.Decoded != 100 || end.Accounting.Inferred != 20 {
		t.Errorf("end: %+v", end)
	}
	if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("then %v", err)
	}
	if want := found(t, "people-frag.mp4", 5, p.file("people-frag.mp4", "every=5")); !slices.Equal(got, want) {
		t.Error("other detections than over HTTP")
	}
	// Nothing is left of the media.
	if left := p.curl(p.url + "/v1/sessions"); len(left) != 1 || bytes.Contains([]byte(p.log()), []byte("not removed")) {
		t.Errorf("sessions: %+v", left)
	}
}

package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/session/client"
	"detections/session/wire"
)

func TestDeadPeerIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	p := newProxy(t, r.url, 0)
	c := newClient(t, p.url(), client.Config{Heartbeat: 30 * time.Millisecond})
	media, w := io.Pipe()
	s := detect(t, t.Context(), c, media, wire.Start{})
	go pour(w, video(5))
	var l journal
	for e := range s.Events() {
		l.add(e)
		if _, ok := e.(*client.Lost); ok {
			p.setDeaf(false)
		}
		if _, ok := e.(*client.Resumed); ok {
			w.Close()
		}
		if len(l.frames) == 5 && l.lost == 0 {
			p.setDeaf(true)
		}
	}
	if err := s.Err(); err != nil || !l.once(7) || l.lost == 0 {
		t.Errorf("err %v, %+v", err, l)
	}
}

func TestHubThatStaysAwayIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	p := newProxy(t, r.url, 0)
	c := newClient(t, p.url(), client.Config{Patience: 100 * time.Millisecond})
	media, w := io.Pipe()
	s := detect(t, t.Context(), c, media, wire.Start{})
	go pour(w, video(5))
	var l journal
	for e := range s.Events() {
		if l.add(e); len(l.frames) == 5 && l.lost == 0 {
			p.listener.Close()
			p.cut()
		}
	}
	if err := s.Err(); !errors.Is(err, client.ErrUnreachable) || len(l.frames) != 5 || l.lost == 0 {
		t.Errorf("err %v, %+v", err, l)
	}
}

func TestConfigureHoldsFromAFrameOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	media, w := io.Pipe()
	s := detect(t, t.Context(), r.client, media, wire.Start{})
	go pour(w, video(4))
	var ids []string
	var refused *wire.ErrorMessage
	var l journal
	for e := range s.Events() {
		l.add(e)
		switch e := e.(type) {
		case *wire.Detections:
			if e.Frame == 3 {
				for _, m := range []wire.Configure{{ID: "no", Detect: &wire.Detect{Labels: []string{"unicorn"}}}, {ID: "mine", Sample: &wire.Sample{Every: 3}}} {
					if err := s.Configure(m); err != nil {
						t.Error(err)
					}
				}
			}
		case *wire.ErrorMessage:
			refused = e
			// The hub takes it up before the bytes that come after it.
			time.AfterFunc(100*time.Millisecond, func() {
				pour(w, bytes.Repeat([]byte("p"), 6*piece))
				w.Close()
			})
		case *wire.Configured:
			ids = append(ids, e.ID)
		}
	}
	if err := s.Configure(wire.Configure{Sample: &wire.Sample{Every: -1}}); err == nil {
		t.Error("nonsense was taken")
	}
	if s.Err() != nil || refused == nil || refused.ID != "no" || !slices.Equal(ids, []string{"", "mine"}) || !slices.Equal(l.frames, []int64{0, 1, 2, 3, 4, 7}) {
		t.Errorf("err %v, refused %+v, configured %q, frames %v", s.Err(), refused, ids, l.frames)
	}
}

func TestKeyComesBackToTheSameSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	whole := video(9)
	media, w := io.Pipe()
	first := detect(t, t.Context(), r.client, media, wire.Start{Key: "k"})
	go pour(w, whole[:4*piece])
	var l journal
	for e := range first.Events() {
		if l.add(e); len(l.frames) == 4 {
			break
		}
	}
	second := detect(t, t.Context(), r.client, onlyReader{bytes.NewReader(whole)}, wire.Start{Key: "k"})
	again := collect(second)
	if err := second.Err(); err != nil || !again.once(11) || second.Started().Session != first.Started().Session || again.end.Bytes != 9*piece {
		t.Errorf("err %v, %+v", err, again)
	}
	rest := collect(first)
	if e, ok := errors.AsType[*wire.Error](first.Err()); !ok || e.Code != wire.Replaced || rest.lost != 0 {
		t.Errorf("the evicted one: %v, %+v", first.Err(), rest)
	}
}

// Whoever comes back with other media is told, and the session of the key goes on.
func TestKeyWithOtherMediaIsNoticed(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	whole := video(9)
	other := bytes.Clone(whole)
	other[2*piece+1]++ // within what the hub has
	media, w := io.Pipe()
	first := detect(t, t.Context(), r.client, media, wire.Start{Key: "k"})
	go pour(w, whole[:4*piece])
	var l journal
	for e := range first.Events() {
		if l.add(e); len(l.frames) == 4 {
			break
		}
	}
	for name, m := range map[string][]byte{"differs": other, "is shorter": whole[:3*piece]} {
		second := detect(t, t.Context(), r.client, bytes.NewReader(m), wire.Start{Key: "k"})
		collect(second)
		if err := second.Err(); !errors.Is(err, client.ErrMedia) || !strings.Contains(err.Error(), "other media") {
			t.Errorf("media that %s: %v", name, err)
		}
	}
	third := detect(t, t.Context(), r.client, bytes.NewReader(whole), wire.Start{Key: "k"})
	if again := collect(third); third.Err() != nil || !again.once(11) {
		t.Errorf("err %v, %+v", third.Err(), again)
	}
	collect(first)
}

// waiting is a reader that gives nothing until it is closed.
type waiting struct{ closed chan struct{} }

func (w waiting) Read([]byte) (int, error) {
	<-w.closed
	return 0, io.EOF
}

func (w waiting) Close() error {
	close(w.closed)
	return nil
}

func TestCallerThatIsSlowLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	s := detect(t, t.Context(), r.client, bytes.NewReader(video(3000)), wire.Start{})
	time.Sleep(200 * time.Millisecond) // more events wait than are queued
	if l := collect(s); s.Err() != nil || !l.once(3002) {
		t.Errorf("err %v, %d events", s.Err(), len(l.offsets))
	}
}

// script is a hub that says what a test wants.
func script(t *testing.T, serve func(n int, c *websocket.Conn, first map[string]any)) string {
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }() // it was closed
		_, text, err := c.Read(t.Context())
		var first map[string]any
		if err != nil || json.Unmarshal(text, &first) != nil {
			return
		}
		n++
		serve(n, c, first)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func tell(c *websocket.Conn, format string, args ...any) {
	_ = c.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
}

const startedText = `{"type":"started","session":"s","token":"t","epoch":%q,"offset":%d,"bytes":%d,"recovered":%t,"limits":{"window":1000000,"message":1000,"bytes":1000000}}`

func TestHubThatLostItsLogMakesTheCallerDiscard(t *testing.T) {
	t.Parallel()
	var resume map[string]any
	url := script(t, func(n int, c *websocket.Conn, first map[string]any) {
		if n == 1 {
			tell(c, startedText, "one", 0, 0, true)
			tell(c, `{"type":"detections","offset":1,"frame":0,"detections":[]}`)
			tell(c, `{"type":"detections","offset":2,"frame":1,"detections":[]}`)
			c.Close(4003, "storage_full")
			return
		}
		resume = first
		tell(c, startedText, "two", 0, 3, false)
		tell(c, `{"type":"weather"}`)
		tell(c, `{"type":"detections","offset":1,"frame":0,"detections":[]}`)
		tell(c, `{"type":"end","offset":2,"outcome":"done"}`)
		c.Close(websocket.StatusNormalClosure, "end")
	})
	s := detect(t, t.Context(), newClient(t, url, client.Config{}), bytes.NewReader(video(1)), wire.Start{})
	l := collect(s)
	if s.Err() != nil || l.lost != 1 || !slices.Equal(l.resumed, []client.Resumed{{Discard: true, Bytes: 3}}) || !slices.Equal(l.offsets, []uint64{1, 2, 1, 2}) {
		t.Errorf("err %v, %+v", s.Err(), l)
	}
	if resume["type"] != "resume" || resume["token"] != "t" || resume["epoch"] != "one" || resume["offset"] != 2.0 {
		t.Errorf("resumed with %v", resume)
	}
}

func TestCloseCodesSayWhetherToComeBack(t *testing.T) {
	t.Parallel()
	for code, back := range map[websocket.StatusCode]bool{
		4003: true, 4499: true, websocket.StatusGoingAway: true, websocket.StatusInternalError: true, websocket.StatusNormalClosure: true,
		4500: false, 4507: false, 4999: false, websocket.StatusMessageTooBig: false, websocket.StatusInvalidFramePayloadData: false,
	} {
		url := script(t, func(n int, c *websocket.Conn, _ map[string]any) {
			tell(c, startedText, "e", 0, 0, true)
			if n == 1 {
				c.Close(code, "because")
				return
			}
			tell(c, `{"type":"end","offset":1,"outcome":"done"}`)
			c.Close(websocket.StatusNormalClosure, "end")
		})
		s := detect(t, t.Context(), newClient(t, url, client.Config{}), waiting{make(chan struct{})}, wire.Start{})
		if l := collect(s); (s.Err() == nil) != back || (l.lost == 1) != back {
			t.Errorf("%d: err %v, %+v", code, s.Err(), l)
		}
	}
}

func TestGoAwaySaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	for action, back := range map[string]bool{"reconnect": true, "stop": false} {
		var left, came time.Time
		url := script(t, func(n int, c *websocket.Conn, _ map[string]any) {
			tell(c, startedText, "e", 0, 0, true)
			if n == 1 {
				tell(c, `{"type":"goaway","action":%q,"retry_ms":150}`, action)
				left = time.Now()
				c.Close(websocket.StatusGoingAway, "draining")
				return
			}
			came = time.Now()
			tell(c, `{"type":"end","offset":1,"outcome":"done"}`)
			c.Close(websocket.StatusNormalClosure, "end")
		})
		s := detect(t, t.Context(), newClient(t, url, client.Config{}), waiting{make(chan struct{})}, wire.Start{})
		collect(s)
		if (s.Err() == nil) != back || back && came.Sub(left) < 150*time.Millisecond {
			t.Errorf("%s: err %v after %v", action, s.Err(), came.Sub(left))
		}
	}
}

func TestHubThatStaysFullIsGivenUpWithItsOwnWords(t *testing.T) {
	t.Parallel()
	url := script(t, func(_ int, c *websocket.Conn, _ map[string]any) {
		tell(c, startedText, "e", 0, 0, true)
		tell(c, `{"type":"error","code":"storage_full","message":"the disk is full","temporary":true,"fatal":true}`)
		c.Close(4003, "storage_full")
	})
	s := detect(t, t.Context(), newClient(t, url, client.Config{Patience: 50 * time.Millisecond}), bytes.NewReader(video(1)), wire.Start{})
	l := collect(s)
	if e, ok := errors.AsType[*wire.Error](s.Err()); !ok || e.Code != wire.StorageFull || errors.Is(s.Err(), client.ErrUnreachable) || l.lost == 0 {
		t.Errorf("err %v, lost %d times", s.Err(), l.lost)
	}
}

package web_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/infer/infertest"
	"detections/session/wire"
)

// wanderer reads one timeline through one door after the other.
type wanderer struct {
	s       *house
	session string
	epoch   string
	offset  uint64
	got     []byte // the numbered messages, a line each
	ended   bool
	moves   int
}

// take notes a message and says whether it was an event.
func (w *wanderer) take(text []byte) bool {
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		w.s.t.Errorf("%v: %s", err, text)
		return false
	}
	if !m.numbered() {
		return false
	}
	if m.Offset != w.offset+1 {
		w.s.t.Errorf("event %d after %d", m.Offset, w.offset)
	}
	w.offset, w.ended = m.Offset, m.Type == wire.TypeEnd
	w.got = append(append(w.got, text...), '\n')
	return true
}

// walk reads n events through a random door and leaves without a word.
func (w *wanderer) walk(rng *rand.Rand) {
	n := 1 + rng.IntN(6)
	w.moves++
	switch rng.IntN(3) {
	case 0:
		w.socket(n)
	case 1:
		w.http(n, "text/event-stream")
	default:
		w.http(n, "application/x-ndjson")
	}
}

func (w *wanderer) socket(n int) {
	c, _, err := websocket.Dial(w.s.t.Context(), strings.Replace(w.s.URL, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		w.s.t.Error(err)
		return
	}
	defer func() { _ = c.CloseNow() }()
	hello := fmt.Sprintf(`{"type":"watch","session":%q,"epoch":%q,"offset":%d}`, w.session, w.epoch, w.offset)
	if err := c.Write(w.s.t.Context(), websocket.MessageText, []byte(hello)); err != nil {
		w.s.t.Error(err)
		return
	}
	for n > 0 && !w.ended {
		_, text, err := c.Read(w.s.t.Context())
		if err != nil {
			w.s.t.Errorf("after event %d: %v", w.offset, err)
			return
		}
		if w.take(text) {
			n--
		}
	}
}

func (w *wanderer) http(n int, kind string) {
	r, err := http.NewRequestWithContext(w.s.t.Context(), http.MethodGet, w.s.URL+"/detect/stream?session="+w.session, nil)
	if err != nil {
		w.s.t.Error(err)
		return
	}
	r.Header.Set("Accept", kind)
	r.Header.Set("Last-Event-ID", fmt.Sprintf("%s:%d", w.epoch, w.offset))
	a, err := w.s.Client().Do(r)
	if err != nil {
		w.s.t.Error(err)
		return
	}
	defer a.Body.Close()
	for lines := bufio.NewReader(a.Body); n > 0 && !w.ended; {
		text, err := lines.ReadBytes('\n')
		if err != nil {
			w.s.t.Errorf("after event %d: %v", w.offset, err)
			return
		}
		if kind == "text/event-stream" {
			var data bool
			if text, data = bytes.CutPrefix(text, []byte("data: ")); !data {
				continue
			}
		}
		if w.take(bytes.TrimSpace(text)) {
			n--
		}
	}
}

// Ten readers of ten sessions leave their door a thousand times, at random moments,
// while the sessions run and after; each has read the timeline, byte for byte.
func TestReadersChangeDoors(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{engine: infertest.Config{Price: infertest.Price{Run: 200 * time.Microsecond}, MaxBatch: 1}})
	const readers, pictures = 10, 400
	var group sync.WaitGroup
	walkers := make([]*wanderer, readers)
	for i := range walkers {
		up, err := s.hub.Start(t.Context(), "local", wire.Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer up.Reader.Close()
		w := &wanderer{s: s, session: up.Started.Session, epoch: up.Started.Epoch}
		walkers[i] = w
		rng := rand.New(rand.NewPCG(7, uint64(i)))
		group.Go(func() {
			defer up.Feeder.EOF()
			for range pictures {
				if _, err := up.Feeder.Write(video(1)); err != nil {
					t.Error(err)
				}
			}
		})
		group.Go(func() {
			for !w.ended && !t.Failed() {
				w.walk(rng)
			}
		})
	}
	group.Wait()
	moves := 0
	for _, w := range walkers {
		moves += w.moves
		var want bytes.Buffer
		if _, err := want.ReadFrom(s.get("/v1/sessions/" + w.session + "/results?format=ndjson").Body); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(w.got, want.Bytes()) {
			t.Errorf("%d bytes read in %d moves, want %d", len(w.got), w.moves, want.Len())
		}
	}
	if moves < 1000 {
		t.Errorf("only %d moves", moves)
	}
	t.Logf("%d moves between doors", moves)
}

//go:build deploy

package main_test

import (
	"bufio"
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// What two cores can do of twenty uploads at once: one picture of each second.
var minuteJobs = []job{
	{"minutes.mp4", wire.Start{Sample: &wire.Sample{FPS: 1}}},
	{"minutes.ts", wire.Start{Sample: &wire.Sample{FPS: 1}}},
	{"minutes.mkv", wire.Start{Track: true, Sample: &wire.Sample{FPS: 1}}},
	{"minutes-frag.mp4", wire.Start{Sample: &wire.Sample{FPS: 1}}},
}

// minutes makes videos of two minutes: the sample clip, twelve times.
func minutes(t *testing.T) map[string][]byte {
	t.Helper()
	dir, all := t.TempDir(), map[string][]byte{}
	for file, args := range map[string]string{
		"minutes.mp4": "-movflags +faststart", "minutes.ts": "-f mpegts", "minutes.mkv": "",
		"minutes-frag.mp4": "-movflags frag_keyframe+empty_moov+default_base_moof",
	} {
		to := filepath.Join(dir, file)
		args := append([]string{"-nostdin", "-v", "error", "-stream_loop", "11", "-i", media(t, "people.mp4"), "-c", "copy"}, append(strings.Fields(args), to)...)
		if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", file, err, out)
		}
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = b
	}
	return all
}

// realTime lets an upload take about as long as the video lasts, or half of that.
func realTime(rng *mathrand.Rand, size int) int { return size / (60 + rng.IntN(60)) }

// watchers follow sessions by the two doors for those who only read, from the first event
// to the last, and come back where they were.
type watchers struct {
	t    *testing.T
	url  string
	work sync.WaitGroup

	sessions, results, lost, twice, resumed atomic.Int64
}

// watcher is one reader of one session.
type watcher struct {
	door, session string
	epoch         string
	offset        uint64
	got           outcome
	err           error // an event that cannot be
}

// begin follows a session by both doors.
func (ws *watchers) begin(session string, want outcome) {
	for door, follow := range map[string]func(context.Context, *watcher) error{"SSE": ws.stream, "WebSocket": ws.socket} {
		ws.work.Go(func() {
			w := &watcher{door: door, session: session}
			ws.follow(w, follow)
			if w.err != nil || w.got.end != want.end || len(w.got.results) != len(want.results) {
				ws.t.Errorf("%s of %s: %v; %d results, want %d; end %s, want %s", door, session, w.err, len(w.got.results), len(want.results), w.got.end, want.end)
			}
			ws.sessions.Add(1)
			ws.results.Add(int64(len(w.got.results)))
			lost, twice := difference(w.got.results, want.results)
			ws.lost.Add(lost)
			ws.twice.Add(twice)
		})
	}
}

// follow connects again until the end has come.
func (ws *watchers) follow(w *watcher, once func(context.Context, *watcher) error) {
	for deadline := time.Now().Add(15 * time.Minute); w.got.end == "" && w.err == nil; {
		last := once(ws.t.Context(), w)
		if w.got.end != "" || w.err != nil {
			return
		}
		if time.Now().After(deadline) {
			w.err = fmt.Errorf("no end: %w", last)
			return
		}
		ws.resumed.Add(1)
		time.Sleep(100 * time.Millisecond)
	}
}

// take keeps an event.
func (w *watcher) take(text []byte) {
	m, err := wire.ParseHub(text)
	if err != nil {
		w.err = err
		return
	}
	switch m := m.(type) {
	case *wire.Started:
		if w.epoch != "" && (m.Epoch != w.epoch || m.Offset != w.offset) {
			w.err = fmt.Errorf("it goes on at %s:%d, asked for %s:%d", m.Epoch, m.Offset, w.epoch, w.offset)
		}
		w.epoch = m.Epoch
	case *wire.Configured:
		w.next(m.Offset)
	case *wire.Detections:
		w.next(m.Offset)
		m.Timing = wire.Timing{}
		w.got.results = append(w.got.results, string(wire.Encode(m)))
	case *wire.End:
		w.next(m.Offset)
		w.got.end = string(wire.Encode(m))
	}
}

func (w *watcher) next(offset uint64) {
	if offset != w.offset+1 {
		w.err = fmt.Errorf("event %d came after %d", offset, w.offset)
	}
	w.offset = offset
}

// stream reads GET /detect/stream until it ends.
func (ws *watchers) stream(ctx context.Context, w *watcher) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ws.url+"/detect/stream?session="+w.session, nil)
	if err != nil {
		return err
	}
	if w.offset > 0 {
		r.Header.Set("Last-Event-ID", fmt.Sprintf("%s:%d", w.epoch, w.offset))
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", a.Status)
	}
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && w.err == nil {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			w.take([]byte(data))
		}
	}
	return lines.Err()
}

// socket watches by a WebSocket until that ends.
func (ws *watchers) socket(ctx context.Context, w *watcher) error {
	c, _, err := websocket.Dial(ctx, ws.url+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return err
	}
	defer c.CloseNow() //nolint:errcheck // nothing more is read
	c.SetReadLimit(1 << 20)
	ask := wire.EncodeClient(&wire.Watch{Session: w.session, Epoch: w.epoch, Offset: w.offset})
	if err := c.Write(ctx, websocket.MessageText, ask); err != nil {
		return err
	}
	for w.err == nil && w.got.end == "" {
		_, text, err := c.Read(ctx)
		if err != nil {
			return err
		}
		w.take(text)
	}
	return nil
}

// String is what they have seen.
func (ws *watchers) String() string {
	return fmt.Sprintf("%d watchers came back %d times; %d results, %d lost, %d twice",
		ws.sessions.Load(), ws.resumed.Load(), ws.results.Load(), ws.lost.Load(), ws.twice.Load())
}

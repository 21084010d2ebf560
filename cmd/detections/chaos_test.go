package main_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"detections/session/client"
	"detections/session/wire"
)

// The chaos tests end the hub in the middle of its work, again and again, and compare
// what clients were told with what an undisturbed hub tells. `make test` runs a few
// rounds, `make test-chaos` many: CHAOS is how many rounds, CHAOS_SEED which.

// rounds is how often the hub is ended.
func rounds(t *testing.T, usual int) int {
	t.Helper()
	return number(t, "CHAOS", usual)
}

func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: expected a number above 0, got %q", name, text)
	}
	return n
}

// job is one upload that the load makes again and again.
type job struct {
	file  string
	start wire.Start
}

// One container each, and what the decoder has to get right when it goes on in the
// middle: reordered pictures, an index at the end, a rule that skips.
var jobs = []job{
	{"people.mp4", wire.Start{Track: true}},
	{"people.ts", wire.Start{Sample: &wire.Sample{Every: 3}}},
	{"people-bframes.mp4", wire.Start{Sample: &wire.Sample{FPS: 4}}},
	{"people.mkv", wire.Start{Track: true, Sample: &wire.Sample{Every: 2}}},
	{"people-moov-end.mp4", wire.Start{Sample: &wire.Sample{Every: 5}}},
	{"people-vp8.webm", wire.Start{Sample: &wire.Sample{Every: 4}}},
	{"people-vp9.webm", wire.Start{Track: true, Sample: &wire.Sample{Every: 3}}},
	{"people-frag.mp4", wire.Start{Sample: &wire.Sample{FPS: 5}}},
	{"people.avi", wire.Start{Sample: &wire.Sample{Every: 6}}},
	{"people.flv", wire.Start{Sample: &wire.Sample{Every: 4}}},
	{"people.mpg", wire.Start{Sample: &wire.Sample{Every: 5}}},
	{"hevc.mp4", wire.Start{Sample: &wire.Sample{Every: 5}}},
	{"av1.mp4", wire.Start{Sample: &wire.Sample{Every: 5}}},
	{"people.h264", wire.Start{Sample: &wire.Sample{Every: 4}, Media: wire.Media{Container: "h264"}}},
}

// outcome is everything that a session tells, timing aside.
type outcome struct {
	results []string
	end     string
}

// load is a number of clients that upload one file after the other.
type load struct {
	t      *testing.T
	url    string
	jobs   []job
	media  map[string][]byte
	golden map[string]outcome
	pace   func(rng *mathrand.Rand, size int) int // bytes per second of an upload
	began  func(session string, want outcome)     // told of every session; nil: nobody is
	stop   chan struct{}                          // closed: begin no more sessions
	work   sync.WaitGroup

	sessions, results, lost, twice, resumed, refused atomic.Int64
}

// undisturbed is what every job gives, once it was run.
var undisturbed = map[string]outcome{}

func newLoad(t *testing.T, url string) *load {
	t.Helper()
	media := map[string][]byte{}
	for _, j := range jobs {
		media[j.file] = read(t, j.file)
	}
	return newLoadOf(t, url, jobs, media)
}

func newLoadOf(t *testing.T, url string, jobs []job, media map[string][]byte) *load {
	t.Helper()
	l := &load{t: t, url: url, jobs: jobs, media: media, golden: undisturbed, stop: make(chan struct{})}
	l.pace = func(rng *mathrand.Rand, size int) int { return size / (1 + rng.IntN(4)) }
	for _, j := range jobs {
		if _, done := l.golden[j.file]; done {
			continue
		}
		got, err := l.run(j, rand.Text(), 0)
		if err != nil {
			t.Fatalf("%s undisturbed: %v", j.file, err)
		}
		l.golden[j.file] = got
	}
	return l
}

// begin starts n clients.
func (l *load) begin(n int, seed uint64) {
	for i := range n {
		l.work.Go(func() { l.client(mathrand.New(mathrand.NewPCG(seed, uint64(i))), i) })
	}
}

// client uploads one file after the other; the first ones differ between clients.
func (l *load) client(rng *mathrand.Rand, first int) {
	for n := first; ; n = rng.IntN(len(l.jobs)) {
		select {
		case <-l.stop:
			return
		default:
		}
		j, key := l.jobs[n%len(l.jobs)], rand.Text()
		got, err := l.run(j, key, l.pace(rng, len(l.media[j.file])))
		for errors.Is(err, client.ErrUnreachable) && len(got.results) == 0 {
			l.refused.Add(1)
			time.Sleep(20 * time.Millisecond)
			got, err = l.run(j, key, 0) // the same key: never two sessions
		}
		want := l.golden[j.file]
		if err != nil || got.end != want.end || !slices.Equal(got.results, want.results) {
			l.t.Errorf("%s: %v; %d results, want %d; end %s, want %s; %s", j.file, err, len(got.results), len(want.results), got.end, want.end, firstDifference(got.results, want.results))
		}
		l.sessions.Add(1)
		l.results.Add(int64(len(got.results)))
		lost, twice := difference(got.results, want.results)
		l.lost.Add(lost)
		l.twice.Add(twice)
	}
}

// difference counts what is missing of what was wanted, and what came again.
func difference(got, want []string) (lost, twice int64) {
	times := map[string]int{}
	for _, r := range got {
		times[r]++
	}
	for _, r := range want {
		if times[r] == 0 {
			lost++
		}
		twice += int64(max(0, times[r]-1))
	}
	return lost, twice
}

// String is what the load has seen.
func (l *load) String() string {
	return fmt.Sprintf("%d sessions came back %d times; %d results, %d lost, %d twice; %d connections refused",
		l.sessions.Load(), l.resumed.Load(), l.results.Load(), l.lost.Load(), l.twice.Load(), l.refused.Load())
}

// run is one session. rate is the upload's in bytes per second, 0: as fast as it goes.
func (l *load) run(j job, key string, rate int) (o outcome, err error) {
	c, err := client.New(client.Config{URL: l.url, Delay: 50 * time.Millisecond, MaxDelay: 500 * time.Millisecond, Patience: time.Minute})
	if err != nil {
		return o, err
	}
	start := j.start
	start.Key, start.Media.Size = key, int64(len(l.media[j.file]))
	s, err := c.Detect(l.t.Context(), &slowReader{r: bytes.NewReader(l.media[j.file]), rate: rate}, start)
	if err != nil {
		return o, err
	}
	defer s.Close() //nolint:errcheck // always nil
	if want, known := l.golden[j.file]; known && l.began != nil {
		l.began(s.Started().Session, want)
	}
	offset := uint64(0)
	next := func(n uint64) {
		if offset++; n != offset && err == nil {
			err = fmt.Errorf("event %d came after %d", n, offset-1)
		}
	}
	for e := range s.Events() {
		switch e := e.(type) {
		case *wire.Configured:
			next(e.Offset)
		case *wire.Detections:
			next(e.Offset)
			e.Timing = wire.Timing{}
			o.results = append(o.results, string(wire.Encode(e)))
		case *wire.End:
			next(e.Offset)
			o.end = string(wire.Encode(e))
		case *client.Resumed:
			l.resumed.Add(1)
			if e.Discard {
				err = errors.New("the hub began again from the first event")
			}
		}
	}
	return o, errors.Join(err, s.Err())
}

// finish lets the running sessions come to their end.
func (l *load) finish() {
	close(l.stop)
	l.work.Wait()
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("result %d is\n%s, want\n%s", i, got[i], want[i])
		}
	}
	return ""
}

// slowReader is a media file that arrives at a rate.
type slowReader struct {
	r    io.Reader
	rate int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.rate > 0 {
		time.Sleep(20 * time.Millisecond)
		p = p[:min(len(p), max(1, s.rate/50))]
	}
	return s.r.Read(p)
}

// onSamePlace starts a hub where another one was.
func onSamePlace(t *testing.T, address, dir string, args ...string) *process {
	t.Helper()
	p := run(t, nil, append([]string{"serve", "--listen", address, "--data", dir, "--providers", "cpu"}, args...)...)
	p.url = p.await("serving")["url"].(string)
	return p
}

// TestChaosKill kills the hub, and its decoders, at random moments.
func TestChaosKill(t *testing.T) {
	dir, kills, clients := t.TempDir(), rounds(t, 4), number(t, "CHAOS_CLIENTS", 4)
	seed := uint64(number(t, "CHAOS_SEED", 1))
	p := onSamePlace(t, "127.0.0.1:0", dir)
	address := strings.TrimPrefix(p.url, "http://")
	l := newLoad(t, p.url)
	l.begin(clients, seed)
	rng := mathrand.New(mathrand.NewPCG(seed, 1))
	decoders := 0
	for range kills {
		time.Sleep(time.Duration(100+rng.IntN(3000)) * time.Millisecond)
		if pids := p.decoders(""); len(pids) > 0 && rng.IntN(3) == 0 {
			if syscall.Kill(pids[rng.IntN(len(pids))], syscall.SIGKILL) == nil {
				decoders++
			}
		}
		p.signal(syscall.SIGKILL)
		<-p.done
		p = onSamePlace(t, address, dir)
	}
	l.finish()
	t.Logf("%d kills of the hub, %d of decoders, %d clients: %v", kills, decoders, clients, l)
	if l.resumed.Load() == 0 {
		t.Error("no session was interrupted")
	}
}

// TestChaosTakeover lets one process after the other take over under load.
func TestChaosTakeover(t *testing.T) {
	dir, n := t.TempDir(), rounds(t, 2)
	p := onSamePlace(t, "127.0.0.1:0", dir)
	p.await("engine ready")
	address := strings.TrimPrefix(p.url, "http://")
	l := newLoad(t, p.url)
	l.begin(number(t, "CHAOS_CLIENTS", 3), 2)
	health := newProbe(p.url)
	for range n {
		next := onSamePlace(t, address, dir, "--takeover")
		if code := p.exit(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		p = next
		time.Sleep(300 * time.Millisecond)
	}
	health.end(t)
	l.finish()
	t.Logf("%d takeovers: %v; %v", n, l, health)
	if l.resumed.Load() == 0 || l.refused.Load() > 0 {
		t.Errorf("%d came back, %d refused", l.resumed.Load(), l.refused.Load())
	}
}

// TestChaosRestart stops the hub with SIGTERM and starts it again, without a
// successor that is ready. The listener is passed by socket activation, so that
// connections wait.
func TestChaosRestart(t *testing.T) {
	dir, n := t.TempDir(), rounds(t, 2)
	a := activate(t)
	p := a.serve(dir)
	p.await("engine ready")
	l := newLoad(t, p.url)
	l.begin(number(t, "CHAOS_CLIENTS", 3), 3)
	health := newProbe(p.url)
	for range n {
		time.Sleep(500 * time.Millisecond)
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != 0 {
			t.Errorf("exit status %d", code)
		}
		p = a.serve(dir)
	}
	health.end(t)
	l.finish()
	t.Logf("%d restarts: %v; %v", n, l, health)
	if l.resumed.Load() == 0 || l.refused.Load() > 0 {
		t.Errorf("%d came back, %d refused", l.resumed.Load(), l.refused.Load())
	}
}

// ended is the log's account of a hub's last moments, for the end-to-end tests.
func (p *process) ended() (left struct{ Suspended, Stuck int }) {
	p.t.Helper()
	text, err := json.Marshal(p.await("the data directory is free")["sessions"])
	if err == nil {
		err = json.Unmarshal(text, &left)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return left
}

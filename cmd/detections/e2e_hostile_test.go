package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"detections/media/mediatest"
	"detections/session/client"
	"detections/session/wire"
)

// TestE2EHostileMedia sends a hub mutated inputs, by clients with a key each, while a
// neighbour streams. Every session must have exactly one end, the hub must live, and the
// neighbour must not notice: in turn it has the hub for itself and shares it with the
// others. HOSTILE is ten times the number of inputs.
func TestE2EHostileMedia(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	n, seconds := number(t, "HOSTILE", 400)/10, 2
	if os.Getenv("HOSTILE") != "" {
		seconds = 10
	}
	neighbour := key(t, keys, "neighbour", "stream")
	a := &attack{inputs: mediatest.NewMutator(t), Ordeal: mediatest.Ordeal{Through: "a hub", Ends: map[string]int{}}}
	tokens := []string{key(t, keys, "one", "stream"), key(t, keys, "two", "stream"), key(t, keys, "three", "stream")}
	p := start(t, []string{"DETECTIONS_API_KEYS=" + keys})
	p.await("engine ready")
	var clients sync.WaitGroup
	a.pause.Lock()
	for _, token := range tokens {
		clients.Go(func() { a.run(t, p, token) })
	}
	for a.count() < n && !t.Failed() {
		alone := p.stream(t, neighbour, seconds)
		a.pause.Unlock()
		shared := p.stream(t, neighbour, seconds)
		a.pause.Lock()
		t.Logf("%d of %d inputs; the neighbour had %s; alone %s", a.count(), n, shared, alone)
		for _, s := range []streamed{alone, shared} {
			if s.inferred == 0 || s.end != wire.Done {
				t.Errorf("the neighbour: %s", s)
			}
		}
		if alone.inferred >= alone.decoded*95/100 { // or the machine has other things to do
			a.Neighbour = append(a.Neighbour, shared.rate()/alone.rate())
		}
	}
	a.stop.Store(true)
	a.pause.Unlock()
	clients.Wait()
	if status := p.get(t, "/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	a.Died, a.Largest = strings.Count(p.log(), `"decoder process died"`), p.peak(t)
	a.Report(t)
	if os.Getenv("HOSTILE") == "" { // how fast a neighbour is, CI's machine cannot tell
		return
	}
	if kept := slices.Sorted(slices.Values(a.Neighbour)); len(kept) < 3 {
		t.Errorf("this machine is too busy to tell what a neighbour notices: alone it kept up %d times", len(kept))
	} else if kept[len(kept)/2] < 0.9 {
		t.Errorf("the neighbour kept %.2f of its frame rate", kept)
	}
}

// attack is a number of clients that send mutated inputs.
type attack struct {
	inputs *mediatest.Mutator
	next   atomic.Int64
	stop   atomic.Bool
	pause  sync.RWMutex // held by who wants it to be quiet

	mu sync.Mutex
	mediatest.Ordeal
}

func (a *attack) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Inputs
}

// longest is what an answer to an input may take.
const longest = 30 * time.Second

// run is one client, who sends one input after the other until stop.
func (a *attack) run(t *testing.T, p *process, token string) {
	for {
		a.pause.RLock()
		if a.stop.Load() {
			a.pause.RUnlock()
			return
		}
		i := int(a.next.Add(1)) - 1
		seed, input := a.inputs.Input(i)
		begun := time.Now()
		code, ends, err := p.send(input, token)
		took := time.Since(begun)
		a.pause.RUnlock()
		if err != nil || ends != 1 || took > longest {
			t.Errorf("%d of %s: %d ends, %v, err %v", i, seed, ends, took, err)
		}
		a.mu.Lock()
		a.Inputs++
		a.Ends[code]++
		if took > a.Slowest {
			a.Slowest, a.Which = took, fmt.Sprintf("%d of %s", i, seed)
		}
		a.mu.Unlock()
		if err != nil {
			return // the hub is gone
		}
	}
}

// peak is the largest resident memory that the process had, in kB.
func (p *process) peak(t *testing.T) (kB int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		t.Fatal(err)
	}
	return kB
}

// streamed is what a live session got.
type streamed struct {
	decoded, inferred int64
	dropped           string
	seconds           int // of video
	end               wire.Outcome
}

// rate is the results per second of video: the camera's clock is no slower where the hub is.
func (s streamed) rate() float64 { return float64(s.inferred) / float64(s.seconds) }

func (s streamed) String() string {
	return fmt.Sprintf("%.1f results per second, %d of %d frames (%s, dropped %s)", s.rate(), s.inferred, s.decoded, s.end, s.dropped)
}

// stream is a camera with 10 pictures per second, for some seconds.
func (p *process) stream(t *testing.T, token string, seconds int) (s streamed) {
	t.Helper()
	const start = "\xff\xd8\xff" // of a picture
	video := bytes.Repeat(read(t, "mjpeg.mjpeg"), seconds/2)
	lens := &camera{begun: time.Now()}
	for _, picture := range bytes.Split(video, []byte(start))[1:] {
		lens.pictures = append(lens.pictures, append([]byte(start), picture...))
	}
	c, err := client.New(client.Config{URL: p.url, Token: func() (string, error) { return token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Detect(t.Context(), lens, wire.Start{Mode: wire.Live})
	if err != nil {
		t.Fatal(err)
	}
	for e := range d.Events() {
		if end, ok := e.(*wire.End); ok {
			s.decoded, s.inferred, s.end, s.dropped = end.Accounting.Decoded, end.Accounting.Inferred, end.Outcome, fmt.Sprintf("%+v", end.Accounting.Dropped)
		}
	}
	_ = d.Close() // always nil
	s.seconds = seconds
	return s
}

// camera gives a picture every 100 ms, whoever is slow.
type camera struct {
	begun    time.Time
	pictures [][]byte
	rest     []byte
	taken    int
}

func (c *camera) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.taken == len(c.pictures) {
			return 0, io.EOF
		}
		time.Sleep(time.Until(c.begun.Add(time.Duration(c.taken) * 100 * time.Millisecond)))
		c.rest = c.pictures[c.taken]
		c.taken++
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// send uploads an input, and tells how it ended and how many ends there were.
func (p *process) send(input []byte, token string) (code string, ends int, err error) {
	r, err := http.NewRequest(http.MethodPost, p.url+"/detect/video?every=100", bytes.NewReader(input))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Accept", "application/x-ndjson")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer a.Body.Close()
	for d := json.NewDecoder(a.Body); ; {
		var m answer
		err := d.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return code, ends, nil
		case err != nil:
			return code, ends, err
		case m.Status >= 400: // a problem is an end
			code, ends = m.Code, ends+1
		case m.Type == "end":
			code, ends = strings.TrimSpace(m.Outcome+" "+m.Code), ends+1
		}
	}
}

func (p *process) get(t *testing.T, path string) (status int) {
	t.Helper()
	a, err := http.Get(p.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	return a.StatusCode
}

// TestE2EPointersAreNotFollowed sends inputs that name a server and a file. Nobody may
// come to the server, nor open the file.
func TestE2EPointersAreNotFollowed(t *testing.T) {
	p := serve(t)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var visits atomic.Int64
	visited := make(chan struct{})
	go func() {
		defer close(visited)
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			c.Close()
		}
	}()
	canary := filepath.Join(t.TempDir(), "canary.ts")
	if err := os.WriteFile(canary, read(t, "people.ts"), 0o600); err != nil {
		t.Fatal(err)
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err == nil {
		defer unix.Close(watch)
		_, err = unix.InotifyAddWatch(watch, canary, unix.IN_OPEN|unix.IN_ACCESS)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, input := range mediatest.Pointers(server.Addr().String(), canary) {
		if code, ends, err := p.send(input, ""); err != nil || ends != 1 || strings.HasPrefix(code, "done") {
			t.Errorf("%s: %s, %d ends, err %v", name, code, ends, err)
		}
	}
	var event [1024]byte
	if n, err := unix.Read(watch, event[:]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the file was opened: %d, %v", n, err)
	}
	if f, err := os.Open(canary); err == nil { // the watch would have noticed
		f.Close()
	}
	if n, err := unix.Read(watch, event[:]); n <= 0 {
		t.Errorf("the watch notices nothing: %v", err)
	}
	server.Close()
	<-visited
	if n := visits.Load(); n != 0 {
		t.Errorf("somebody came to the server, %d times", n)
	}
}

// TestE2ESandboxIsTold reads what decoder processes are in, at every place that tells.
func TestE2ESandboxIsTold(t *testing.T) {
	p := serve(t)
	for path, want := range map[string]string{"/readyz": `"sandbox":{"active":["descriptors","rlimits"`, "/metrics": `detections_sandbox_layer{layer="rlimits"} 1`} {
		a, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, err %v", path, text, err)
		}
	}
}

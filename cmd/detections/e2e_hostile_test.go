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

// TestE2EHostileMedia sends a hub mutated inputs while somebody else streams. Every
// session must have exactly one end, the hub must live, and the other session must not
// notice. HOSTILE is ten times the number of inputs.
func TestE2EHostileMedia(t *testing.T) {
	p := serve(t)
	n := number(t, "HOSTILE", 400) / 10
	m := mediatest.NewMutator(t)
	alone := 0
	quiet := p.stream(t, func() bool { alone++; return alone < n/100 })

	var next, ended atomic.Int64
	codes, slowest := map[string]int{}, time.Duration(0)
	var mu sync.Mutex
	var attack sync.WaitGroup
	for range 2 {
		attack.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				seed, input := m.Input(i)
				begun := time.Now()
				code, ends, err := p.send(input)
				if took := time.Since(begun); err != nil || ends != 1 || took > patience {
					t.Errorf("%d of %s: %d ends, %v, err %v", i, seed, ends, took, err)
				}
				mu.Lock()
				codes[code]++
				slowest = max(slowest, time.Since(begun))
				mu.Unlock()
				ended.Add(1)
			}
		})
	}
	meanwhile := p.stream(t, func() bool { return ended.Load() < int64(n) })
	attack.Wait()
	t.Logf("%d inputs: %v; slowest %v; the other session had %s, alone %s", n, codes, slowest.Round(time.Millisecond), meanwhile, quiet)
	for _, s := range []streamed{quiet, meanwhile} {
		if s.inferred == 0 || s.end != wire.Done {
			t.Errorf("the other session: %s", s)
		}
	}
	if os.Getenv("HOSTILE") != "" && meanwhile.rate() < 0.9*quiet.rate() {
		t.Errorf("the other session had %s, alone %s", meanwhile, quiet)
	}
	if a := p.get(t, "/livez"); a != http.StatusOK {
		t.Errorf("livez: %d", a)
	}
}

// streamed is what a live session got.
type streamed struct {
	decoded, inferred int64
	took              time.Duration
	end               wire.Outcome
}

func (s streamed) rate() float64 { return float64(s.inferred) / s.took.Seconds() }

func (s streamed) String() string {
	return fmt.Sprintf("%.1f results per second, %d of %d frames (%s)", s.rate(), s.inferred, s.decoded, s.end)
}

// stream sends a video of two seconds live, at its own pace, again and again.
func (p *process) stream(t *testing.T, again func() bool) (all streamed) {
	t.Helper()
	file := read(t, "two-seconds.ts")
	c, err := client.New(client.Config{URL: p.url})
	if err != nil {
		t.Fatal(err)
	}
	for more := true; more; more = again() {
		begun := time.Now()
		s, err := c.Detect(t.Context(), &slowReader{r: bytes.NewReader(file), rate: len(file) / 2}, wire.Start{Mode: wire.Live})
		if err != nil {
			t.Fatal(err)
		}
		for e := range s.Events() {
			if end, ok := e.(*wire.End); ok {
				all.decoded += end.Accounting.Decoded
				all.inferred += end.Accounting.Inferred
				all.end = end.Outcome
			}
		}
		_ = s.Close() // always nil
		all.took += time.Since(begun)
	}
	return all
}

// send uploads an input, and tells how it ended and how many ends there were.
func (p *process) send(input []byte) (code string, ends int, err error) {
	r, err := http.NewRequest(http.MethodPost, p.url+"/detect/video?every=100", bytes.NewReader(input))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Accept", "application/x-ndjson")
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
		if code, ends, err := p.send(input); err != nil || ends != 1 || strings.HasPrefix(code, "done") {
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

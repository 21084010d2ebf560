package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"detections/session/wire"
	"detections/web"
)

// The tests below need a hub in a process of its own: this test binary, started again.

// child is that process.
type child struct {
	t     *testing.T
	in    io.WriteCloser
	lines *bufio.Scanner
	url   string
	key   string
	watch string // a session to watch
}

func startChild(t *testing.T, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestAsChild$", "-test.count=1", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), append(env, "DETECTIONS_TEST_CHILD=1")...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, in: in, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the hub's process: %v", err)
		}
	})
	f := c.hear()
	c.url, c.key, c.watch = f[0], f[1], f[2]
	return c
}

// ask gives the process a command.
func (c *child) ask(command string) []string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, command); err != nil {
		c.t.Fatal(err)
	}
	return c.hear()
}

func (c *child) hear() []string {
	c.t.Helper()
	for c.lines.Scan() {
		if rest, ok := strings.CutPrefix(c.lines.Text(), "child: "); ok {
			return strings.Fields(rest)
		}
	}
	c.t.Fatal("the hub's process has ended")
	return nil
}

// usage is what the process has used: processor time, and resident memory in bytes.
func (c *child) usage() (cpu time.Duration, rss int64) {
	c.t.Helper()
	f := c.ask("usage")
	n, _ := strconv.ParseInt(f[0], 10, 64)
	rss, _ = strconv.ParseInt(f[1], 10, 64)
	return time.Duration(n), rss
}

// TestAsChild is the process; without its environment it has nothing to do.
func TestAsChild(t *testing.T) {
	if os.Getenv("DETECTIONS_TEST_CHILD") == "" {
		return
	}
	if n, err := strconv.ParseUint(os.Getenv("DETECTIONS_TEST_FILES"), 10, 64); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			t.Fatal(err)
		}
	}
	g := newGuarded(t, options{web: web.Limits{Conns: 20_000, PerPrincipal: 20_000}}, "wanda read")
	up, err := g.hub.Start(t.Context(), "key:wanda", wire.Start{HeartbeatMS: wire.MaxHeartbeat})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Reader.Close()
	fmt.Println("child:", g.Listener.Addr(), g.keys["wanda read"], up.Started.Session)
	statm, err := os.Open("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	defer statm.Close()
	var junk []*os.File
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "usage":
			debug.FreeOSMemory()
			var u syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
				t.Error(err)
			}
			text := make([]byte, 100)
			n, _ := statm.ReadAt(text, 0)
			pages, _ := strconv.ParseInt(strings.Fields(string(text[:n]))[1], 10, 64)
			fmt.Println("child:", u.Utime.Nano()+u.Stime.Nano(), pages*int64(os.Getpagesize()))
		case "hoard": // every descriptor but some
			for {
				f, err := os.Open(os.DevNull)
				if err != nil {
					break
				}
				junk = append(junk, f)
			}
			for _, f := range junk[len(junk)-3:] {
				f.Close()
			}
			fmt.Println("child: done")
		case "free":
			for _, f := range junk {
				f.Close()
			}
			fmt.Println("child: done")
		}
	}
	up.Feeder.EOF()
	<-up.Session.Done()
}

// watcher opens a WebSocket that watches and says nothing more. It is a bare socket, so
// that thousands cost the test little.
func (c *child) watcher() (*line, error) {
	l, err := dialLine(c.t, c.url)
	if err != nil {
		return nil, err
	}
	l.say("GET /v1/session HTTP/1.1\nHost: localhost\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Protocol: " + wire.Subprotocol + "\nAuthorization: Bearer " + c.key + "\n\n")
	if a, err := http.ReadResponse(l.Reader, nil); err != nil || a.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade: %v %w", a, err)
	}
	hello := fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, c.watch)
	l.say("\x81" + string([]byte{0x80 | byte(len(hello)), 0, 0, 0, 0}) + hello)
	head, err := l.Peek(2)
	if err != nil || head[0] != 0x81 {
		return nil, fmt.Errorf("started: %x %w", head, err)
	}
	return l, nil
}

// maxWatcher is what a watcher that has nothing to read may cost, in bytes. Of few, what
// the runtime happens to hold makes some difference.
const maxWatcher, noise = 25 << 10, 5 << 10

// Many watchers wait for a session that does nothing. DETECTIONS_WATCHERS says how many.
func TestIdleWatchersAreCheap(t *testing.T) {
	if raceEnabled {
		return // its memory is another one
	}
	n := 1000
	if v, err := strconv.Atoi(os.Getenv("DETECTIONS_WATCHERS")); err == nil {
		n = v
	}
	c := startChild(t)
	open := func(n int) {
		for range n {
			l, err := c.watcher()
			if err != nil {
				t.Fatal(err)
			}
			l.Reader = nil // the test's own memory is no concern of the hub's
		}
	}
	open(50) // what the first ones need once
	_, before := c.usage()
	begun := time.Now()
	open(n - 50)
	took := time.Since(begun)
	_, after := c.usage()
	each := (after - before) / int64(n-50)
	t.Logf("%d authenticated watchers: %.1f kB of resident memory each, connected in %v", n, float64(each)/1000, took.Round(time.Millisecond))
	if most := int64(maxWatcher); each > most+noise || n >= 10_000 && each > most {
		t.Errorf("an idle watcher costs %d bytes, want at most %d", each, maxWatcher)
	}
}

func TestOutOfDescriptors(t *testing.T) {
	c := startChild(t, "DETECTIONS_TEST_FILES=200")
	held, err := dialLine(t, c.url)
	if err != nil {
		t.Fatal(err)
	}
	ready := func() int {
		held.say("GET /readyz HTTP/1.1\nHost: localhost\n\n")
		a := held.answer()
		_, _ = io.Copy(io.Discard, a.Body)
		return a.StatusCode
	}
	if got := ready(); got != http.StatusOK {
		t.Fatalf("readyz: %d", got)
	}
	c.ask("hoard")
	cpu, _ := c.usage()
	begun := time.Now()
	for range 50 { // the kernel takes them, the hub cannot
		if l, err := dialLine(t, c.url); err == nil {
			l.say("GET /livez HTTP/1.1\nHost: localhost\n\n")
		}
	}
	for ready() != http.StatusServiceUnavailable {
		if time.Since(begun) > patience {
			t.Fatal("the hub stays ready")
		}
	}
	time.Sleep(time.Second)
	spent, _ := c.usage()
	if busy, wall := spent-cpu, time.Since(begun); busy > wall/2 {
		t.Errorf("%v of processor time in %v: it spins", busy, wall)
	}
	c.ask("free")
	if l, err := c.watcher(); err != nil {
		t.Errorf("after that: %v", err)
	} else {
		l.Close()
	}
}

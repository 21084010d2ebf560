package main_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests whose names contain E2E use the built program from outside: they give it
// real media over real connections, and read its answers and its log.

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

var buildDir string

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if buildDir, err = os.MkdirTemp("", "detections-e2e-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// program builds the program, once, unless DETECTIONS_TEST_PROGRAM is one.
var program = sync.OnceValues(func() (string, error) {
	if built := os.Getenv("DETECTIONS_TEST_PROGRAM"); built != "" {
		return filepath.Abs(built)
	}
	path := filepath.Join(buildDir, "detections")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// need is an environment variable that `make e2e` sets.
func need(t *testing.T, name string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("a long test")
	}
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: `make e2e` sets it", name)
	}
	return v
}

// media is the path of a test file.
func media(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(need(t, "DETECTIONS_TEST_MEDIA"), name)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(media(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// process is the program while it runs.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	done chan struct{} // closed when it has exited

	mu    sync.Mutex
	lines []string      // of its standard error
	more  chan struct{} // closed and renewed with every line
}

// run starts the program. env are settings as NAME=value.
func run(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	library := need(t, "ORT_LIBRARY")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, env, library, exec.Command(path, args...))
}

// launch starts a command that is, or becomes, the program.
func launch(t *testing.T, env []string, library string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "DETECTIONS_") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, "DETECTIONS_ORT_LIBRARY="+library), env...)
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(out)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(p.cmd.Args, " "), p.log())
		}
	})
	return p
}

func (p *process) follow(out io.Reader) {
	defer close(p.done)
	for s := bufio.NewScanner(out); s.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // ProcessState tells
}

// serve starts a hub on a free port and waits until it serves and its engine is ready.
func serve(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, nil, args...)
	p.await("engine ready")
	return p
}

// start does not wait for the engine.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	all := []string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()}
	if !slices.Contains(args, "--providers") { // two lists would be joined
		all = append(all, "--providers", "cpu")
	}
	p := run(t, env, append(all, args...)...)
	p.url = p.await("serving")["url"].(string)
	return p
}

// log is what it has written so far.
func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// await waits for a line of the log with this message.
func (p *process) await(msg string) map[string]any {
	p.t.Helper()
	deadline := time.After(patience)
	for next := 0; ; {
		p.mu.Lock()
		lines, more := p.lines[next:], p.more
		p.mu.Unlock()
		for _, l := range lines {
			next++
			var m map[string]any
			if json.Unmarshal([]byte(l), &m) == nil && m["msg"] == msg {
				return m
			}
		}
		select {
		case <-more:
		case <-p.done:
			p.t.Fatalf("it ended without %q", msg)
		case <-deadline:
			p.t.Fatalf("no %q in the log", msg)
		}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit status, −1 after a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// answer is any message of the hub, or a problem.
type answer struct {
	Type       string
	Session    string
	Offset     uint64
	State      string
	Frame      int64
	PTS        float64  `json:"pts_ms"`
	ClientTS   *float64 `json:"client_ts"`
	Seq        *int64
	Width      int
	Height     int
	Detections json.RawMessage
	Outcome    string
	Code       string
	Message    string
	Detail     string
	Status     int
	Bytes      int64
	Accounting struct {
		Decoded, Inferred, Skipped, Pending, Concealed int64
		Undecoded, Dropped                             map[string]int64
	}
}

// stream is an upload whose answer is read while it is sent.
type stream struct {
	t    *testing.T
	body *io.PipeWriter
	d    *json.Decoder
	log  []answer
}

// upload begins one; first is sent at once.
func (p *process) upload(query string, first []byte) *stream {
	p.t.Helper()
	body, w := io.Pipe()
	p.t.Cleanup(func() { w.Close() })
	go func() { _, _ = w.Write(first) }() // the other end tells
	r, err := http.NewRequestWithContext(p.t.Context(), "POST", p.url+"/detect/video?"+query, body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Accept", "application/x-ndjson")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { a.Body.Close() })
	return &stream{t: p.t, body: w, d: json.NewDecoder(a.Body)}
}

func (s *stream) until(what string, ok func(answer) bool) answer {
	s.t.Helper()
	for {
		var a answer
		if err := s.d.Decode(&a); err != nil {
			s.t.Fatalf("waiting for %s: %v after %+v", what, err, s.log[max(0, len(s.log)-3):])
		}
		s.log = append(s.log, a)
		if ok(a) {
			return a
		}
	}
}

func (s *stream) untilType(kind string) answer {
	s.t.Helper()
	return s.until(kind, func(a answer) bool { return a.Type == kind })
}

// rest sends what remains of the media and returns the end event.
func (s *stream) rest(p []byte) answer {
	s.t.Helper()
	if _, err := io.Copy(s.body, bytes.NewReader(p)); err != nil {
		s.t.Fatal(err)
	}
	s.body.Close()
	return s.untilType("end")
}

// file sends a whole file with curl and returns every message.
func (p *process) file(name, query string) []answer {
	p.t.Helper()
	all := p.curl("-T", media(p.t, name), "-H", "Accept: application/x-ndjson", p.url+"/detect/video?"+query)
	if len(all) == 0 {
		p.t.Fatalf("%s: no answer", name)
	}
	return all
}

// curl runs curl and returns the JSON objects that came.
func (p *process) curl(args ...string) (all []answer) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "curl", append([]string{"-sSN", "--max-time", "60"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		failed, _ := errors.AsType[*exec.ExitError](err)
		p.t.Fatalf("%v: %v %s", cmd.Args, err, cmp.Or(failed, &exec.ExitError{}).Stderr)
	}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var a answer
		if err := d.Decode(&a); err != nil {
			p.t.Fatalf("%v: %v in %.200s", cmd.Args, err, out)
		}
		all = append(all, a)
	}
	return all
}

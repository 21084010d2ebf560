package main_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// decoders are the decoder processes of the hub: those that work on a session, or
// with an empty id all of them.
func (p *process) decoders(session string) (pids []int) {
	p.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // the thread may be gone
		for field := range strings.FieldsSeq(string(text)) {
			line, _ := os.ReadFile("/proc/" + field + "/cmdline") // the process may be gone
			pid, err := strconv.Atoi(field)
			if err == nil && bytes.Contains(line, []byte("\x00decoder-process\x00")) && (session == "" || hasOpen(field, session)) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// hasOpen says whether a process has the session's media open.
func hasOpen(pid, session string) bool {
	files, _ := filepath.Glob("/proc/" + pid + "/fd/*") // the pattern is valid
	for _, f := range files {
		if name, _ := os.Readlink(f); strings.Contains(name, session) { // the file may be closed
			return true
		}
	}
	return false
}

func TestE2EKilledDecoder(t *testing.T) {
	p := serve(t)
	whole := read(t, "people.ts")
	half := len(whole) / 2
	victim := p.upload("every=10", whole[:half])
	id := victim.untilType("started").Session
	victim.untilType("detections")
	pids := p.decoders(id)
	if len(pids) != 1 {
		t.Fatalf("decoders %v of all %v", pids, p.decoders(""))
	}
	other := p.upload("every=10", whole[:half])
	other.untilType("detections")
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if l := p.await("another decoder goes on"); l["session"] != id {
		t.Errorf("log: %v", l)
	}
	if end := victim.rest(whole[half:]); end.Outcome != "done" || end.Accounting.Decoded != 100 || end.Accounting.Inferred != 10 {
		t.Errorf("the victim's end: %+v", end)
	}
	if end := other.rest(whole[half:]); end.Outcome != "done" || end.Accounting.Decoded != 100 || end.Accounting.Inferred != 10 {
		t.Errorf("the other's end: %+v", end)
	}
	if a := p.file("people.ts", "every=50"); a[len(a)-1].Outcome != "done" {
		t.Errorf("afterwards: %+v", a[len(a)-1])
	}
	if pids := p.decoders(id); len(pids) != 0 {
		t.Errorf("left over: %v", pids)
	}
}

// activation passes its listener to every process, as an init system does.
type activation struct {
	t        *testing.T
	listener *os.File
	url      string
}

func activate(t *testing.T) *activation {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close(); l.Close() })
	return &activation{t, file, "http://" + l.Addr().String()}
}

// serve starts the program under a shell, because LISTEN_PID must be its own.
func (a *activation) serve(dir string) *process {
	a.t.Helper()
	path, err := program()
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, path, "serve", "--listen", "127.0.0.1:1", "--data", dir, "--providers", "cpu")
	cmd.ExtraFiles = []*os.File{a.listener}
	p := launch(a.t, []string{"LISTEN_FDS=1"}, need(a.t, "ORT_LIBRARY"), cmd)
	if p.url, _ = p.await("serving")["url"].(string); p.url != a.url {
		a.t.Errorf("serving on %s, passed was %s", p.url, a.url)
	}
	return p
}

// The story of the documentation: an upload, kill -9, another start, the rest.
func TestE2EKilledHubGoesOn(t *testing.T) {
	dir := t.TempDir()
	p := onSamePlace(t, "127.0.0.1:0", dir)
	p.await("engine ready")
	whole := read(t, "people.mp4")
	s := p.upload("every=10", whole)
	id := s.untilType("started").Session
	s.untilType("detections")
	p.signal(syscall.SIGKILL)
	<-p.done
	p = onSamePlace(t, "127.0.0.1:0", dir)
	if l := p.await("sessions taken up"); l["running"] != 1.0 {
		t.Errorf("log: %v", l)
	}
	// Nobody sends the rest: how much of it had arrived is chance, what had stays.
	all := p.curl("-X", "POST", p.url+"/v1/sessions/"+id+"/cancel")
	if len(all) != 1 {
		t.Fatalf("answers %+v", all)
	}
	results := p.curl(p.url + "/v1/sessions/" + id + "/results?format=ndjson")
	if end := results[len(results)-1]; end.Type != "end" || end.Outcome == "failed" || len(results) < 3 {
		t.Errorf("%d events, end %+v", len(results), end)
	}
}

func TestE2EDrainSuspends(t *testing.T) {
	dir := t.TempDir()
	p := onSamePlace(t, "127.0.0.1:0", dir)
	p.await("engine ready")
	s := p.upload("", read(t, "people.mp4")[:400_000])
	s.untilType("detections")
	p.signal(syscall.SIGINT)
	s.untilType("goaway")
	if left := p.ended(); left.Suspended != 1 || left.Stuck != 0 {
		t.Errorf("left %+v", left)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	p = onSamePlace(t, "127.0.0.1:0", dir)
	if l := p.await("sessions taken up"); l["running"] != 1.0 {
		t.Errorf("log: %v", l)
	}
}

// A successor that still gets ready when its predecessor is told to stop, or dies, takes
// over what that leaves; meanwhile connections wait.
func TestE2ESuccessorOutlivesItsPredecessor(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"stopped": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := onSamePlace(t, "127.0.0.1:0", dir)
			p.await("engine ready")
			s := p.upload("", read(t, "people.mp4")[:400_000])
			s.untilType("detections")
			next := run(t, nil, "serve", "--takeover", "--listen", strings.TrimPrefix(p.url, "http://"), "--data", dir, "--providers", "cpu")
			next.await("getting ready to take over")
			p.signal(sig)
			if code := p.exit(); sig == syscall.SIGTERM && code != 0 {
				t.Errorf("exit status %d", code)
			}
			p.curl("-f", "-o", "/dev/null", p.url+"/health") // it waits, and fails the test otherwise
			if l := next.await("sessions taken up"); l["running"] != 1.0 {
				t.Errorf("log: %v", l)
			}
		})
	}
}

func TestE2ESecondSignalEndsAtOnce(t *testing.T) {
	p := serve(t, "--drain-delay", "1m")
	s := p.upload("", read(t, "people.mp4")[:400_000])
	s.untilType("detections")
	p.signal(syscall.SIGTERM)
	p.await("stopping")
	p.signal(syscall.SIGTERM)
	if p.exit(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || strings.Contains(p.log(), `"stopped"`) {
		t.Errorf("%v", p.cmd.ProcessState)
	}
}

func TestE2ECannotStart(t *testing.T) {
	first := start(t, nil)
	taken := strings.TrimPrefix(first.url, "http://")
	_, port, err := net.SplitHostPort(taken)
	if err != nil {
		t.Fatal(err)
	}
	dir := first.await("serving")["data"].(string)
	config := func(text string) string {
		path := filepath.Join(t.TempDir(), "hub.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	free := []string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()}
	for name, c := range map[string]struct {
		code  int
		words string
		args  []string
	}{
		"port":           {1, "address already in use", []string{"serve", "--listen", "127.0.0.1:" + port, "--data", t.TempDir()}},
		"data":           {1, "data directory " + dir + " is in use by another process", []string{"serve", "--listen", "127.0.0.1:0", "--data", dir}},
		"flag":           {2, "unknown flag: --speed", append(free, "--speed")},
		"value":          {2, `invalid argument "many"`, append(free, "--max-sessions", "many")},
		"range":          {2, "max-sessions: expected at least 1, got 0", append(free, "--max-sessions", "0")},
		"no workers":     {2, "warm-workers: expected at least 1, got 0", append(free, "--warm-workers", "0")},
		"argument":       {2, `unexpected "now"`, append(free, "now")},
		"command":        {2, `there is no command "run"`, []string{"run"}},
		"no config":      {2, "no such file", append(free, "--config", "/nowhere.yaml")},
		"config":         {2, `there is no setting "colour"`, append(free, "--config", config("colour: red\n"))},
		"config value":   {2, `expected a number of bytes such as 500MB or 8GiB, got "big"`, append(free, "--config", config("window: big\n"))},
		"config no YAML": {2, "hub.yaml", append(free, "--config", config("{{{\n"))},
		"origin":         {2, "not-a-site", append(free, "--allowed-origin", "not-a-site")},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, nil, c.args...)
			code := p.exit()
			// What it began meanwhile is in its log; the reason is said in words, once.
			lines := slices.DeleteFunc(strings.Split(p.log(), "\n"), func(l string) bool { return strings.HasPrefix(l, "{") })
			if c.code == 2 && strings.HasPrefix(lines[len(lines)-1], "Try 'detections ") {
				lines = lines[:len(lines)-1]
			}
			if code != c.code || len(lines) != 1 || !strings.HasPrefix(lines[0], "detections: ") || !strings.Contains(lines[0], c.words) {
				t.Errorf("exit status %d, %q; want %d, %q", code, lines, c.code, c.words)
			}
		})
	}
}

func TestE2ESettings(t *testing.T) {
	config := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(config, []byte("max-picture: 5KB\nmax-media: 20KB\nlog-level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"DETECTIONS_CONFIG=" + config, "DETECTIONS_MAX_MEDIA=500KB", "DETECTIONS_ALLOWED_HOST=hub.example"}, "--max-media", "600kB")
	p.await("engine ready")
	// From the file; the environment over the file; the command line over both.
	if a := p.curl("--data-binary", "@"+media(t, "frame.jpg"), p.url+"/detect"); a[0].Status != 413 || !strings.Contains(a[0].Detail, "limit of 5000 bytes") {
		t.Errorf("picture: %+v", a)
	}
	all := p.file("people.mp4", "every=10")
	if end := all[len(all)-1]; end.Code != "too_large" || !strings.Contains(end.Message, "limit of 600000 bytes") || end.Accounting.Inferred == 0 {
		t.Errorf("media: %+v", end)
	}
	p.curl("-f", "-o", "/dev/null", "-H", "Host: hub.example", p.url+"/health")
	table := run(t, nil, "settings")
	if code := table.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

package main_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// said is what a command printed, and its exit status.
type said struct {
	out, err string
	status   int
}

// command prepares a run of the program as a client.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	library := need(t, "ORT_LIBRARY")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "DETECTIONS_ORT_LIBRARY="+library, "DETECTIONS_PROVIDERS=cpu", "DETECTIONS_HUB=", "TMPDIR="+t.TempDir())
	return cmd
}

// finish runs a prepared command.
func finish(t *testing.T, cmd *exec.Cmd) said {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatal(err)
		}
	}
	return said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func cli(t *testing.T, args ...string) said {
	t.Helper()
	return finish(t, command(t, args...))
}

func (s said) check(t *testing.T, what string, status int, words ...string) {
	t.Helper()
	if s.status != status {
		t.Errorf("%s: exit status %d, want %d\n%s%s", what, s.status, status, s.out, s.err)
	}
	for _, w := range words {
		if !strings.Contains(s.out+s.err, w) {
			t.Errorf("%s: no %q in\n%s%s", what, w, s.out, s.err)
		}
	}
}

func TestE2EDetectSaysWhatIsIn(t *testing.T) {
	p := serve(t)
	s := cli(t, "detect", "--hub", p.url, "--every", "10", media(t, "people.mp4"), media(t, "frame.jpg"))
	s.check(t, "two inputs", 0, "people.mp4  768×576, 10 of 100 frames", "in 10 of 10 frames", "frame.jpg  768×576, picture", "person")
	if s.err != "" || strings.Contains(s.out, "\x1b") {
		t.Errorf("on a pipe it says %q, %q", s.err, s.out)
	}
	s = cli(t, "detect", "--hub", p.url, "--every", "50", "-j", "3", media(t, "text.txt"), media(t, "people.ts"), "nosuch.mp4")
	s.check(t, "some fail", 1, "looks like plain text", "people.ts  768×576", "nosuch.mp4: no such file or directory")
	cmd := command(t, "detect", "--hub", p.url, "--every", "20", "-")
	cmd.Stdin = bytes.NewReader(read(t, "people.ts"))
	finish(t, cmd).check(t, "stdin", 0, "stdin  768×576, 5 of 100 frames")
	files := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(media(t, "people.mp4")))))
	t.Cleanup(files.Close)
	cli(t, "detect", "--hub", p.url, "--every", "20", files.URL+"/people.mp4").check(t, "URL", 0, "/people.mp4  768×576, 5 of 100 frames")
	cli(t, "detect", "--hub", p.url, files.URL+"/nosuch").check(t, "URL", 1, "the server answers 404")
}

func TestE2EDetectFormatsAgree(t *testing.T) {
	p := serve(t)
	dir := t.TempDir()
	want := 0
	var frames []string
	for _, a := range p.file("people.mp4", "every=10") {
		if a.Type == "detections" {
			var dets []any
			if err := json.Unmarshal(a.Detections, &dets); err != nil {
				t.Fatal(err)
			}
			want += len(dets)
			frames = append(frames, string(a.Detections))
		}
	}
	detect := func(format, out string) {
		t.Helper()
		s := cli(t, "detect", "-q", "--hub", p.url, "--every", "10", "-f", format, "-o", dir+"/"+out, media(t, "people.mp4"))
		if s.check(t, format, 0); s.out+s.err != "" {
			t.Errorf("%s: it says %q", format, s.out+s.err)
		}
	}
	detect("ndjson", "all.ndjson")
	text, _ := os.ReadFile(filepath.Join(dir, "all.ndjson"))
	var got []string
	for line := range strings.Lines(string(text)) {
		var a answer
		if err := json.Unmarshal([]byte(line), &a); err != nil || !strings.HasPrefix(line, `{"file":"`) {
			t.Fatalf("%s: %v", line, err)
		}
		if a.Type == "detections" {
			got = append(got, string(a.Detections))
		}
	}
	if strings.Join(got, "\n") != strings.Join(frames, "\n") || !strings.Contains(string(text), `"outcome":"done"`) {
		t.Errorf("ndjson has %d frames that curl did not get so", len(got))
	}
	detect("csv", "each/")
	text, err := os.ReadFile(filepath.Join(dir, "each", "people.mp4.csv"))
	rows, bad := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || bad != nil || len(rows) != want+1 || len(rows[0]) != 12 {
		t.Errorf("csv: %d rows for %d detections, %v, %v", len(rows), want, err, bad)
	}
	detect("json", "all.json")
	text, _ = os.ReadFile(filepath.Join(dir, "all.json"))
	var all []struct {
		Outcome string
		Frames  []answer
	}
	if err := json.Unmarshal(text, &all); err != nil || len(all) != 1 || all[0].Outcome != "done" || len(all[0].Frames) != 10 {
		t.Errorf("json: %v in %.300s", err, text)
	}
}

func TestE2EDetectLocalDrawsBoxes(t *testing.T) {
	dir := t.TempDir()
	cmd := command(t, "detect", "--local", "--every", "50", "--labels", "person", "--save-frames", dir, media(t, "people.mp4"), media(t, "frame.png"))
	finish(t, cmd).check(t, "local", 0, "2 pictures with boxes saved", "one picture with boxes saved")
	for _, name := range []string{"people-000000.jpg", "people-000050.jpg", "frame.png"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		m, _, err := image.Decode(f)
		f.Close()
		if err != nil || m.Bounds().Dx() != 768 || m.Bounds().Dy() != 576 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		yellow := 0
		for y := range 576 {
			for x := range 768 {
				if c := color.RGBAModel.Convert(m.At(x, y)).(color.RGBA); c.R > 0xe0 && c.G > 0xb0 && c.B < 0x50 {
					yellow++
				}
			}
		}
		if yellow < 1000 {
			t.Errorf("%s has %d yellow pixels", name, yellow)
		}
	}
	for _, e := range cmd.Env {
		if tmp, ok := strings.CutPrefix(e, "TMPDIR="); ok && tmp != os.Getenv("TMPDIR") {
			if left, _ := os.ReadDir(tmp); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

func TestE2EDetectSaysWhatIsWrong(t *testing.T) {
	p := serve(t)
	old := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(old.Close)
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "notes.txt"), []byte("just some words"), 0o600); err != nil {
		t.Fatal(err)
	}
	video := media(t, "people.mp4")
	for _, c := range []struct {
		status int
		words  string
		args   []string
	}{
		{2, "name a file", []string{"detect"}},
		{2, "--threshold: expected 0.01 to 1, got 7", []string{"detect", "--threshold", "7", video}},
		{2, "not both", []string{"detect", "--fps", "1", "--every", "2", video}},
		{2, "expected text, json, ndjson or csv", []string{"detect", "-f", "xml", video}},
		{2, "unknown flag", []string{"detect", "--frobnicate"}},
		{2, "there is no command", []string{"detekt"}},
		{1, "no such file or directory", []string{"detect", "nosuch.mp4"}},
		{1, "none of the files in this folder (1) is a video or picture", []string{"detect", empty}},
		{3, "start one with 'detections serve'", []string{"detect", "--hub", "http://127.0.0.1:1", video}},
		{3, "too old for this program", []string{"detect", "--hub", old.URL, video}},
		{3, "start one with 'detections serve'", []string{"health", "--hub", "http://127.0.0.1:1"}},
		{3, "not as a hub does", []string{"health", "--hub", old.URL}},
		{1, "no space left on device", []string{"detect", "--hub", p.url, "-q", "-f", "csv", "-o", "/dev/full", video}},
		{1, "no label \"unicorn\"", []string{"detect", "--hub", p.url, "--labels", "unicorn", video}},
		{1, "give --local and a file", []string{"detect", "--hub", p.url, "--save-frames", empty, video}},
		{1, "no inference engine", []string{"detect", "--local", "--retry-for", "1s", video}},
		{0, "ready: nanodet", []string{"health", "--hub", p.url}},
		{0, `"ready":true`, []string{"health", "--hub", p.url, "-f", "json"}},
		{0, ".TH", []string{"man", "detect"}},
		{0, "complete", []string{"completion", "bash"}},
	} {
		cmd := command(t, c.args...)
		if strings.Contains(c.words, "engine") {
			cmd.Env = append(cmd.Env, "DETECTIONS_ORT_LIBRARY=/nosuch.so")
		}
		s := finish(t, cmd)
		s.check(t, strings.Join(c.args, " "), c.status, c.words)
		lines := strings.Count(s.err, "\n")
		if c.status == 2 {
			lines-- // and the hint
		}
		if c.status != 0 && lines != 1 {
			t.Errorf("%v: it says it in %d lines:\n%s", c.args, lines, s.err)
		}
	}
}

func TestE2EDetectInterrupted(t *testing.T) {
	p := serve(t)
	out := filepath.Join(t.TempDir(), "found.ndjson")
	begin := func() (*exec.Cmd, *bytes.Buffer, io.Closer) {
		cmd := command(t, "detect", "--hub", p.url, "--every", "5", "-f", "ndjson", "-o", out, "-")
		media, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		errs := &bytes.Buffer{}
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := media.Write(read(t, "people.ts")[:400_000]); err != nil {
			t.Fatal(err)
		}
		for begun := time.Now(); time.Since(begun) < patience; time.Sleep(20 * time.Millisecond) {
			if text, _ := os.ReadFile(out); bytes.Count(text, []byte(`"type":"detections"`)) > 1 {
				return cmd, errs, media
			}
		}
		t.Fatalf("no results: %s", errs)
		return nil, nil, nil
	}
	cmd, errs, media := begin()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the state tells
	media.Close()
	text, _ := os.ReadFile(out)
	said{string(text), errs.String(), cmd.ProcessState.ExitCode()}.check(t, "Ctrl-C", 130,
		`"outcome":"cancelled"`, "the results so far are kept in "+out, "0 of 1 inputs done")
	if n := p.sessions(); n != 0 {
		t.Errorf("%d sessions run", n)
	}
	cmd, errs, media = begin()
	defer media.Close()
	p.signal(syscall.SIGSTOP) // a hub that does not answer
	defer p.signal(syscall.SIGCONT)
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond) // more than a keystroke
	}
	begun := time.Now()
	_ = cmd.Wait() // the state tells
	said{"", errs.String(), cmd.ProcessState.ExitCode()}.check(t, "Ctrl-C twice", 130, "again ends at once")
	if d := time.Since(begun); d > 2*time.Second {
		t.Errorf("it ended after %v", d)
	}
}

// sessions is how many sessions the hub runs.
func (p *process) sessions() int {
	p.t.Helper()
	var h struct{ Sessions int }
	s := cli(p.t, "health", "-f", "json", "--hub", p.url)
	if err := json.Unmarshal([]byte(s.out), &h); err != nil {
		p.t.Fatal(err)
	}
	return h.Sessions
}

func TestE2EDetectLosesTheHub(t *testing.T) {
	p := serve(t)
	cmd := command(t, "detect", "--hub", p.url, "--retry-for", "1s", media(t, "people-long.mp4"))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); p.sessions() == 0 && time.Since(begun) < patience; {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Second) // some frames
	p.signal(syscall.SIGKILL)
	_ = cmd.Wait() // the state tells
	said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}.check(t, "killed hub", 3, "no hub at "+p.url, "tried for 1s")
}

package main_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// found checks the messages of a file sampled with every=step, and returns the
// detections of each sampled frame.
func found(t *testing.T, name string, step int, all []answer) []string {
	t.Helper()
	var frames []string
	persons, last := 0, math.Inf(-1)
	for _, a := range all {
		if a.Type != "detections" {
			continue
		}
		if a.Frame != int64(len(frames)*step) || a.Width != 768 || a.Height != 576 || len(frames) > 0 && math.Abs(a.PTS-last-float64(100*step)) > 1.5 {
			t.Errorf("%s: frame %d, %d×%d at %v after %v, want frame %d", name, a.Frame, a.Width, a.Height, a.PTS, last, len(frames)*step)
		}
		last = a.PTS
		frames = append(frames, string(a.Detections))
		if strings.Contains(string(a.Detections), `"person"`) {
			persons++
		}
	}
	end := all[len(all)-1]
	if c := end.Accounting; end.Type != "end" || end.Outcome != "done" || c.Decoded != 100 || c.Inferred != int64(len(frames)) || c.Pending != 0 || len(frames) != 100/step {
		t.Errorf("%s: %+v", name, end)
	}
	if persons < len(frames)*9/10 {
		t.Errorf("%s: persons in %d of %d frames", name, persons, len(frames))
	}
	return frames
}

func TestE2EContainers(t *testing.T) {
	p := serve(t)
	want := found(t, "people.mp4", 1, p.file("people.mp4", ""))
	for name, same := range map[string]bool{
		"people-moov-end.mp4": true, "people-frag.mp4": true, "people.ts": true, "people.mkv": true, "people-audio.mp4": true,
		"people-bframes.mp4": false, "people-vp8.webm": false, "people-vp9.webm": false,
	} {
		const step = 5
		all := p.file(name, "every=5")
		got := found(t, name, step, all)
		if n := all[len(all)-1].Accounting.Undecoded; n["corrupt"] != 0 || n["no_keyframe"] != 0 {
			t.Errorf("%s: undecoded %v", name, n)
		}
		for i := range got {
			if same && got[i] != want[i*step] { // the same stream in another container
				t.Errorf("%s: frame %d has %s, in people.mp4 %s", name, i*step, got[i], want[i*step])
				break
			}
		}
	}
}

func TestE2EIndexAtTheEnd(t *testing.T) {
	p := serve(t)
	whole := read(t, "people-moov-end.mp4")
	s := p.upload("every=20", whole[:len(whole)/2])
	s.until("waiting_for_index", func(a answer) bool { return a.State == "waiting_for_index" })
	if end := s.rest(whole[len(whole)/2:]); end.Outcome != "done" || end.Accounting.Inferred != 5 || end.Accounting.Decoded != 100 {
		t.Errorf("end: %+v", end)
	}
}

func TestE2EPictures(t *testing.T) {
	p := serve(t)
	for _, name := range []string{"frame.jpg", "frame.png"} {
		for _, how := range [][]string{{"--data-binary", "@" + media(t, name)}, {"-F", "file=@" + media(t, name)}} {
			a := p.curl(append(how, p.url+"/detect?labels=person&threshold=0.6")...)
			var dets []struct {
				Label      string
				Confidence float64
			}
			if len(a) != 1 || a[0].Width != 768 || a[0].Height != 576 || json.Unmarshal(a[0].Detections, &dets) != nil || len(dets) < 3 {
				t.Fatalf("%s: %+v", name, a)
			}
			for _, d := range dets {
				if d.Label != "person" || d.Confidence < 0.6 {
					t.Errorf("%s: %+v", name, d)
				}
			}
		}
	}
	for name, words := range map[string]string{
		"text.txt": "looks like plain text", "people.mp4": "a still picture was expected, and the input is mp4", "empty.bin": "the body is empty",
	} {
		if a := p.curl("--data-binary", "@"+media(t, name), p.url+"/detect"); a[0].Status != 415 || a[0].Code != "unsupported_media" || !strings.Contains(a[0].Detail, words) {
			t.Errorf("%s: %+v", name, a[0])
		}
	}
}

func TestE2EBadMedia(t *testing.T) {
	p := serve(t)
	for name, words := range map[string]string{
		"audio-only.mp4": "has an audio stream (aac) but no video", "text.txt": "looks like plain text",
		"archive.zip": "looks like a ZIP archive", "empty.bin": "the media is empty",
	} {
		if a := p.file(name, ""); len(a) != 1 || a[0].Status != 415 || a[0].Code != "unsupported_media" || !strings.Contains(a[0].Detail, words) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for name, c := range map[string]struct {
		most, undecoded, concealed int64
		code                       string
	}{
		"people-corrupt.mp4": {100, 0, 1, ""}, "people-corrupt.ts": {100, 0, 0, ""},
		"people-truncated.mp4": {40, 1, 0, "upload_incomplete"},
	} {
		all := p.file(name, "every=10")
		end := all[len(all)-1]
		a := end.Accounting
		lost := a.Undecoded["corrupt"] + a.Undecoded["no_keyframe"]
		if string(end.Code) != c.code || a.Concealed < c.concealed || a.Decoded < c.most*6/10 || a.Decoded > c.most || lost < c.undecoded || a.Inferred != (a.Decoded+9)/10 {
			t.Errorf("%s: %+v", name, end)
		}
		if c.most == 100 && a.Decoded+lost < 99 {
			t.Errorf("%s: %d decoded and %d not, of 100", name, a.Decoded, lost)
		}
	}
	large := filepath.Join(t.TempDir(), "large.txt") // refused long before its end
	if err := os.WriteFile(large, bytes.Repeat([]byte("not a video\n"), 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if a := p.curl("-T", large, p.url+"/detect/video"); len(a) != 1 || a[0].Status != 415 {
			t.Errorf("large text: %+v", a)
		}
	}
	found(t, "people.mp4", 20, p.file("people.mp4", "every=20"))
}

func TestE2EThrottledUpload(t *testing.T) {
	p := serve(t)
	size := int64(len(read(t, "people-vp9.webm")))
	cmd := exec.CommandContext(t.Context(), "curl", "-sSN", "-T", media(t, "people-vp9.webm"), "--limit-rate", "700K",
		"-H", "Accept: application/x-ndjson", p.url+"/detect/video?every=5")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &stream{t: t, d: json.NewDecoder(out)}
	s.untilType("detections")
	var list struct{ Sessions []answer }
	text, err := exec.Command("curl", "-sS", p.url+"/v1/sessions").Output()
	if err != nil || json.Unmarshal(text, &list) != nil || len(list.Sessions) != 1 || list.Sessions[0].Bytes > size/2 {
		t.Errorf("at the first detections: %s, %v; the file has %d bytes", text, err, size)
	}
	if end := s.untilType("end"); end.Outcome != "done" || end.Bytes != size || end.Accounting.Inferred != 20 {
		t.Errorf("end: %+v", end)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

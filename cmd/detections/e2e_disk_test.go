package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestE2EDetectOnAFullDisk lets every way of writing results end in a full disk: said
// in one line that names the file, with what was written before left as it is.
func TestE2EDetectOnAFullDisk(t *testing.T) {
	p := serve(t)
	video, picture := media(t, "people.mp4"), media(t, "frame.jpg")
	for name, c := range map[string]struct {
		full string // this file of the folder cannot be written
		args []string
	}{
		"a file for all":           {"all.csv", []string{"--hub", p.url, "-f", "csv", "-o", "DIR/all.csv", video}},
		"at the end":               {"all.json", []string{"--hub", p.url, "-f", "json", "-o", "DIR/all.json", video}},
		"a file for each":          {"people.mp4.ndjson", []string{"--hub", p.url, "-f", "ndjson", "-o", "DIR/", picture, video, "-j", "1"}},
		"a picture with boxes":     {"frame.jpg", []string{"--hub", p.url, "--save-frames", "DIR", picture}},
		"a video's second picture": {"people-000050.jpg", []string{"--local", "--save-frames", "DIR", video}},
	} {
		dir := t.TempDir()
		full := filepath.Join(dir, c.full)
		if err := os.Symlink("/dev/full", full); err != nil {
			t.Fatal(err)
		}
		args := []string{"detect", "--every", "50"}
		for _, a := range c.args {
			args = append(args, strings.Replace(a, "DIR", dir, 1))
		}
		s := cli(t, args...)
		s.check(t, name, 1, full, "no space left on device", "kept")
		if n := strings.Count(s.err, "detections: "); n != 1 {
			t.Errorf("%s: it says it %d times:\n%s", name, n, s.err)
		}
		before := map[string]string{"a file for each": "frame.jpg.ndjson", "a video's second picture": "people-000000.jpg"}[name]
		if before == "" {
			continue
		}
		if fi, err := os.Stat(filepath.Join(dir, before)); err != nil || fi.Size() == 0 {
			t.Errorf("%s: what was written before is gone: %v", name, err)
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var errs strings.Builder
	cmd := command(t, "detect", "--hub", p.url, "--every", "50", video)
	cmd.Stdout, cmd.Stderr = full, &errs
	if err := cmd.Run(); err == nil {
		t.Error("it does not notice that its output is lost")
	}
	said{"", errs.String(), cmd.ProcessState.ExitCode()}.check(t, "standard output", 1, "no space left on device")
}

func TestE2EDetectGoesByContentNotByName(t *testing.T) {
	p := serve(t)
	dir := t.TempDir()
	for name, from := range map[string]string{"film.jpg": "people.mp4", "clip.avi": "people.ts", "photo.mp4": "frame.jpg", "words.mkv": "text.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, from), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := cli(t, "detect", "--hub", p.url, "--every", "50", dir)
	s.check(t, "folder", 0, "film.jpg  768×576, 2 of 100 frames", "clip.avi  768×576, 2 of 100 frames", "photo.mp4  768×576, picture")
	cli(t, "detect", "--hub", p.url, filepath.Join(dir, "words.mkv")).check(t, "words", 1, "looks like plain text")
}

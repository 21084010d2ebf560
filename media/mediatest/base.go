package mediatest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"detections/media"
)

// base decodes inputs that have something else before them in the file, as a later
// segment of a live session has. Each kind of reading is among them: streams, seeks,
// walks through indices and pictures.
func (s suite) base(t *testing.T) {
	for _, name := range []string{"people-frag.mp4", "people.mp4", "people-moov-end.mp4", "people.ts", "people.mpg", "people-vp8.webm", "mjpeg.mjpeg", "frame.jpg"} {
		job := media.Job{Views: []media.View{Small}, Sample: media.Sample{Every: 7}}
		want := s.all(t, name, job, nil)
		before := bytes.Repeat([]byte{0, 0, 1, 0xba, 'R', 'I', 'F'}, 777)
		f, size := behind(t, name, before)
		job.Base = int64(len(before))
		d := s.open(t, f, job)
		d.Grow(size/2, false)
		d.Grow(size, true)
		if what := Drain(t, d, nil).Differs(want); what != "" {
			t.Errorf("%s: another %s", name, what)
		}
	}
}

// behind makes a file of some bytes with a test file behind them, and tells the
// latter's size.
func behind(t *testing.T, name string, before []byte) (*os.File, int64) {
	t.Helper()
	b, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, append(before, b...), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, int64(len(b))
}

package av

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"detections/media"
	"detections/media/mediatest"
)

// recorder is a host that keeps checkpoints and what is logged.
type recorder struct {
	*measure
	at    []media.Checkpoint
	lines []string
}

func (r *recorder) Put(o media.Output, _ media.DecodeStats) error {
	if o.Frame != nil {
		r.at = append(r.at, o.Frame.Checkpoint)
	}
	return nil
}

func (r *recorder) Log(line string) { r.lines = append(r.lines, line) }

func (r *recorder) decode(t testing.TB, f *os.File, job media.Job) media.DecodeStats {
	t.Helper()
	st, err := Decode(r, f, job)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// astray says whether decoding began twice.
func (r *recorder) astray() bool {
	return slices.ContainsFunc(r.lines, func(s string) bool { return strings.Contains(s, "from the beginning") })
}

// TestResumingBeginsAtAKeyAndNeverTwice: that the frames are right is tested with
// all decoders; here, that they cost little.
func TestResumingBeginsAtAKeyAndNeverTwice(t *testing.T) {
	for _, c := range mediatest.Restarts {
		f, size := mediatest.Open(t, c.Name)
		job := media.Job{Views: []media.View{mediatest.Small}}
		first := recorder{measure: newMeasure(job, size, 0)}
		stats := first.decode(t, f, job)
		keys := map[int64]bool{}
		for _, at := range first.at {
			keys[at.Key] = true
		}
		if len(keys) != c.Keys {
			t.Errorf("%s: decoding begins again at %d places, want %d", c.Name, len(keys), c.Keys)
		}
		at := first.at[len(first.at)-2]
		job.Resume = &at
		r := recorder{measure: newMeasure(job, size, 0)}
		damaged := stats.Concealed > 0 // what is guessed anew may differ, and that is seen
		if got := r.decode(t, f, job); got != stats || r.astray() && !damaged {
			t.Errorf("%s after frame %d: stats %+v, want %+v; log %q", c.Name, at.Index, got, stats, r.lines)
		}
	}
}

// TestACheckpointThatDoesNotFitIsNotTrusted: from the beginning it always works.
func TestACheckpointThatDoesNotFitIsNotTrusted(t *testing.T) {
	f, size := mediatest.Open(t, "open-gop.mp4")
	job := media.Job{Views: []media.View{mediatest.Small}}
	first := recorder{measure: newMeasure(job, size, 0)}
	stats := first.decode(t, f, job)
	for name, change := range map[string]func(*media.Checkpoint){
		"not a key packet":     func(c *media.Checkpoint) { c.Key = c.Packet },
		"another picture":      func(c *media.Checkpoint) { c.Sum++ },
		"another delay":        func(c *media.Checkpoint) { c.Sent-- },
		"a key after the rest": func(c *media.Checkpoint) { c.Key = c.Sent + 1 },
	} {
		at := first.at[70]
		change(&at)
		job.Resume = &at
		r := recorder{measure: newMeasure(job, size, 0)}
		if got := r.decode(t, f, job); got != stats || !r.astray() || !slices.Equal(r.at[1:], first.at[72:]) {
			t.Errorf("%s: stats %+v, %d frames, log %q", name, got, len(r.at), r.lines)
		}
	}
	at := first.at[70]
	at.Packet = 1000
	job.Resume = &at
	if _, err := Decode(newMeasure(job, size, 0), f, job); err == nil || !strings.Contains(err.Error(), "before the picture 70") {
		t.Errorf("without the picture: err %v", err)
	}
}

// BenchmarkResume goes on after frame 590 of 600.
func BenchmarkResume(b *testing.B) {
	f, size := mediatest.Open(b, "people-long.mp4")
	job := media.Job{Views: []media.View{mediatest.View}}
	first := recorder{measure: newMeasure(job, size, 0)}
	begin := time.Now()
	first.decode(b, f, job)
	whole := time.Since(begin)
	job.Resume = &first.at[590]
	for b.Loop() {
		r := recorder{measure: newMeasure(job, size, 0)}
		if r.decode(b, f, job); len(r.at) != 9 || r.astray() {
			b.Fatalf("%d frames", len(r.at))
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/whole.Seconds(), "of-decoding-all")
}

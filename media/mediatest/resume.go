package mediatest

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"detections/media"
)

// Small is a view that costs little and still shows where pixels differ.
var Small = media.View{Width: 96, Height: 96}

// Restarts are files in which decoding can begin again somewhere. Keys is at how
// many places a decoder does.
var Restarts = []struct {
	Name string
	Keys int
}{
	{"open-gop.mp4", 4},
	{"open-gop.ts", 4},
	{"open-gop-hevc.mp4", 4},
	{"open-gop-hevc.ts", 4},
	{"alt-ref.webm", 5},
	{"keys.obu", 4},
	{"mpeg1.mpg", 5},
	{"mpeg2.ts", 5},
	{"mjpeg.avi", 20},
	{"people-bframes.mp4", 4},
	{"people.avi", 4},
	{"people.flv", 4},
	{"people-vp8.webm", 4},
	{"edit-list.mp4", 2},
	{"joined.ts", 2},
	{"joined-other.ts", 1}, // another codec midway
	{"refresh.ts", 1},      // there are no pictures without references after the first
	{"sets-once.h264", 1},  // no key but the first can be decoded by itself
	{"mpeg4.avi", 1},       // the decoder keeps things from before a key
	{"interlaced.ts", 1},
	{"people-corrupt.ts", 4},
}

// Rest is what came out of a decoder after its frame n.
func (r Run) Rest(n int) Run {
	r.Frames, r.Sums = r.Frames[n+1:], r.Sums[n+1:]
	return r
}

// Differs says what is not the same in two runs of one input, other than how long it
// took; "": nothing.
func (r Run) Differs(from Run) string {
	switch n := len(r.Frames); {
	case n != len(from.Frames):
		return fmt.Sprintf("number of frames: %d, not %d", n, len(from.Frames))
	case r.Stats != from.Stats:
		return fmt.Sprintf("count: %+v, not %+v", r.Stats, from.Stats)
	case fmt.Sprint(r.Err) != fmt.Sprint(from.Err):
		return fmt.Sprintf("end: %v, not %v", r.Err, from.Err)
	}
	for i, a := range r.Frames {
		b := from.Frames[i]
		a.Decode, a.CPU, a.Ready, b.Decode, b.CPU, b.Ready = 0, 0, time.Time{}, 0, 0, time.Time{}
		switch {
		case a.Checkpoint != b.Checkpoint:
			return fmt.Sprintf("checkpoint of frame %d:%s", b.Index, fields(a.Checkpoint, b.Checkpoint))
		case a != b:
			return fmt.Sprintf("frame %d:%s", b.Index, fields(a, b))
		case r.Sums[i] != from.Sums[i]:
			return fmt.Sprintf("picture of frame %d", b.Index)
		}
	}
	return ""
}

// Blind forgets the pixels: those of damaged pictures are guessed.
func (r Run) Blind() Run {
	r.Frames, r.Sums = slices.Clone(r.Frames), make([][sha256.Size]byte, len(r.Sums))
	for i := range r.Frames {
		r.Frames[i].Checkpoint.Sum = 0
	}
	return r
}

// fields lists the fields that are not the same.
func fields(a, b any) (s string) {
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range v.NumField() {
		if x, y := v.Field(i).Interface(), w.Field(i).Interface(); x != y {
			s += fmt.Sprintf(" %s %v, not %v", v.Type().Field(i).Name, x, y)
		}
	}
	return s
}

// TestResume decodes a file, and the rest of it again after each of some frames.
func TestResume(t *testing.T, start Start, name string, rule media.Sample, after func(Run) []int) {
	t.Helper()
	s := suite{start}
	job := media.Job{Views: []media.View{Small}, Sample: rule}
	whole := s.all(t, name, job, nil)
	blind := rule.FPS > 0 && whole.Stats.Concealed > 0
	for _, n := range after(whole) {
		at, want := whole.Frames[n].Checkpoint, whole.Rest(n)
		job.Resume, job.From = &at, at.Index
		got := s.all(t, name, job, nil)
		if blind {
			got, want = got.Blind(), want.Blind()
		}
		if what := got.Differs(want); what != "" {
			t.Errorf("%s, %+v, after frame %d: another %s", name, rule, at.Index, what)
		}
		if got.Stream == nil {
			t.Errorf("%s, after frame %d: the stream is not described again", name, at.Index)
		}
	}
}

// EveryFrame is where to resume: after all of them.
func EveryFrame(r Run) (after []int) {
	for n := range r.Frames {
		after = append(after, n)
	}
	return after
}

// AroundKeys is where to resume: right before and after decoding could begin again
// for the last time, and at the end.
func AroundKeys(r Run) (after []int) {
	last := len(r.Frames) - 1
	for n := last; n > 0; n-- {
		if r.Frames[n].Checkpoint.Key != r.Frames[n-1].Checkpoint.Key || n == 1 {
			after = append(after, n-1, n)
			break
		}
	}
	return append(after, last*4/5, last)
}

// resume goes on in an input that grows meanwhile, and in one with its index at the
// end, and takes up another rule where it is told to.
func (s suite) resume(t *testing.T) {
	for _, name := range []string{"people-moov-end.mp4", "people-bframes.mp4", "open-gop-hevc.ts"} {
		job := media.Job{Views: []media.View{Small}, Sample: media.Sample{FPS: 2}}
		whole := s.all(t, name, job, nil)
		n := len(whole.Frames) * 2 / 3
		job.Resume = &whole.Frames[n].Checkpoint
		f, size := Open(t, name)
		d := s.open(t, f, job)
		if d.Stats() != job.Resume.Stats {
			t.Errorf("%s: stats %+v at first", name, d.Stats())
		}
		go func() {
			for n := int64(0); n < size; n += 1013 {
				d.Grow(n, false)
			}
			d.Grow(size, true)
		}()
		if what := Drain(t, d, nil).Differs(whole.Rest(n)); what != "" {
			t.Errorf("%s, growing: another %s", name, what)
		}

		job.Sample, job.From = media.Sample{Every: 7}, job.Resume.Index+4
		f, size = Open(t, name)
		d = s.open(t, f, job)
		d.Configure(1, media.Sample{Every: 5})
		d.Grow(size, true)
		r := Drain(t, d, nil)
		if r.Err != nil || len(r.Rules) != 1 || r.Rules[0].From < job.From || len(r.Frames) == 0 || r.Frames[0].Index != job.From {
			t.Errorf("%s: rules %+v from %d on, first of %d frames, err %v", name, r.Rules, job.From, len(r.Frames), r.Err)
		}
	}
}

package mediatest

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"detections/media"
)

// Start starts a decoder; the suite closes it.
type Start func(t testing.TB, file *os.File, job media.Job) media.Decoder

// View is the view that the suite asks for: the one of the embedded model.
var View = media.View{Width: 416, Height: 416, Fill: 114}

// TestDecoder runs every test of a media.Decoder.
func TestDecoder(t *testing.T, start Start) {
	s := suite{start}
	t.Run("every frame once and in order", s.everyFrame)
	t.Run("every container", s.containers)
	t.Run("growing input gives the same frames", s.growing)
	t.Run("an input can begin anywhere in the file", s.base)
	t.Run("index at the end is waited for", s.index)
	t.Run("sampling by time", s.sampling)
	t.Run("configure midway", s.configure)
	t.Run("held frames keep their pixels", s.held)
	t.Run("close midway", s.close)
	t.Run("a context ends Next and nothing else", s.context)
	t.Run("resume", s.resume)
	t.Run("what cannot be decoded", s.failures)
	t.Run("damaged input gives what it has", s.damaged)
	t.Run("pixels", s.pixels)
	t.Run("several views", s.views)
}

type suite struct{ start Start }

// Run is everything that came out of a decoder.
type Run struct {
	Frames  []media.FrameInfo
	Sums    [][sha256.Size]byte // of the pixels
	Stream  *media.StreamInfo
	Rules   []media.RuleChange
	Waiting media.Waiting
	Stats   media.DecodeStats
	Err     error // nil at the end of the input
}

// Drain reads a decoder to its end. each, if given, is called before a frame is released.
func Drain(t testing.TB, d media.Decoder, each func(*media.Frame)) (r Run) {
	t.Helper()
	for {
		o, err := d.Next(t.Context())
		if err != nil {
			r.Stats = d.Stats()
			if !errors.Is(err, io.EOF) {
				r.Err = err
			}
			return r
		}
		switch {
		case o.Frame != nil:
			if r.Stream == nil {
				t.Error("a frame came before the stream's description")
			}
			r.Frames = append(r.Frames, o.Frame.FrameInfo)
			h := sha256.New()
			for _, v := range o.Frame.Views {
				h.Write(v.Pix)
			}
			r.Sums = append(r.Sums, [sha256.Size]byte(h.Sum(nil)))
			if each != nil {
				each(o.Frame)
			}
			o.Frame.Release()
		case o.Stream != nil:
			r.Stream = o.Stream
		case o.Rule != nil:
			r.Rules = append(r.Rules, *o.Rule)
		case o.Waiting != "":
			r.Waiting = o.Waiting
		default:
			t.Error("empty output")
		}
	}
}

// all decodes a whole file.
func (s suite) all(t testing.TB, name string, job media.Job, each func(*media.Frame)) Run {
	t.Helper()
	f, size := Open(t, name)
	d := s.open(t, f, job)
	d.Grow(size, true)
	return Drain(t, d, each)
}

func (s suite) open(t testing.TB, f *os.File, job media.Job) media.Decoder {
	t.Helper()
	if job.Views == nil {
		job.Views = []media.View{View}
	}
	d := s.start(t, f, job)
	t.Cleanup(func() { d.Close() })
	return d
}

func (s suite) everyFrame(t *testing.T) {
	before := time.Now()
	r := s.all(t, "people.mp4", media.Job{}, nil)
	if r.Err != nil || len(r.Frames) != 100 {
		t.Fatalf("%d frames, err %v", len(r.Frames), r.Err)
	}
	if want := (media.StreamInfo{Container: "mp4", Codec: "h264", Width: 768, Height: 576, FrameRate: 10, Duration: 10 * time.Second}); *r.Stream != want {
		t.Errorf("stream %+v", *r.Stream)
	}
	if want := (media.DecodeStats{Decoded: 100, Picked: 100}); r.Stats != want {
		t.Errorf("stats %+v", r.Stats)
	}
	input := int64(0)
	for i, f := range r.Frames {
		if f.Index != int64(i) || f.PTS != time.Duration(i)*100*time.Millisecond || f.Width != 768 || f.Height != 576 {
			t.Errorf("frame %d: %+v", i, f)
		}
		if f.Key != (f.KeyPTS == f.PTS) || f.KeyPTS > f.PTS || i == 0 && !f.Key {
			t.Errorf("frame %d at %v: key %v at %v", i, f.PTS, f.Key, f.KeyPTS)
		}
		if f.Input < input || f.Input > 849_556 || f.Decode <= 0 || f.Decode > time.Second {
			t.Errorf("frame %d: input %d, decode %v", i, f.Input, f.Decode)
		}
		if f.Ready.Before(before) || f.Ready.After(time.Now()) {
			t.Errorf("frame %d: ready at %v", i, f.Ready)
		}
		input = f.Input
	}
	if first := r.Frames[0].Input; first > 849_556/5 {
		t.Errorf("the first frame needed %d bytes", first)
	}
}

// rawRead is how many bytes a demuxer of a stream without a container reads at a time, or
// as many as have come.
const rawRead = 1024

func (s suite) growing(t *testing.T) {
	for _, name := range []string{"people.mp4", "people-bframes.mp4", "people-frag.mp4", "people.ts", "people.mkv", "people-vp8.webm", "people.avi", "people.flv", "people.mpg", "people.h264", "mpeg2.mpg", "mjpeg.mjpeg", "frame.jpg", "frame.bmp"} {
		whole := s.all(t, name, media.Job{Sample: media.Sample{Every: 7}}, nil)
		apart := int64(0)
		if c := whole.Stream.Container; c == media.H264 || c == media.MJPEG {
			apart = rawRead
		}
		f, size := Open(t, name)
		d := s.open(t, f, media.Job{Sample: media.Sample{Every: 7}})
		go func() {
			for n := int64(0); n < size; n += 1013 {
				d.Grow(n, false)
			}
			d.Grow(size, true)
		}()
		r := Drain(t, d, nil)
		if r.Err != nil || !slices.Equal(r.Sums, whole.Sums) {
			t.Errorf("%s: %d frames, whole %d, err %v", name, len(r.Frames), len(whole.Frames), r.Err)
		}
		for i := range r.Frames {
			a, b := r.Frames[i], whole.Frames[i]
			if a.Index != b.Index || a.PTS != b.PTS || a.KeyPTS != b.KeyPTS || max(a.Input-b.Input, b.Input-a.Input) > apart {
				t.Errorf("%s: frame %+v, whole %+v", name, a, b)
			}
		}
	}
}

func (s suite) index(t *testing.T) {
	f, size := Open(t, "people-moov-end.mp4")
	d := s.open(t, f, media.Job{})
	d.Grow(64, false)
	if o, err := d.Next(t.Context()); err != nil || o.Waiting != media.WaitingForIndex {
		t.Fatalf("output %+v, err %v", o, err)
	}
	d.Grow(size-1, false)
	d.Grow(size, true)
	if r := Drain(t, d, nil); r.Err != nil || len(r.Frames) != 100 || r.Frames[0].Input < size-10_000 {
		t.Errorf("%d frames, err %v", len(r.Frames), r.Err)
	}

	d = s.open(t, f, media.Job{})
	d.Grow(size/2, true)
	if r := Drain(t, d, nil); !errors.Is(r.Err, media.ErrDecode) || r.Err.Error() != "the upload ended before the index (moov)" {
		t.Errorf("cut off before the index: %v", r.Err)
	}
	d = s.open(t, f, media.Job{Live: true})
	d.Grow(size/2, false)
	if r := Drain(t, d, nil); !errors.Is(r.Err, media.ErrUnsupported) {
		t.Errorf("live: %v", r.Err)
	}
}

func (s suite) sampling(t *testing.T) {
	r := s.all(t, "people.ts", media.Job{Sample: media.Sample{FPS: 2}}, nil)
	if r.Err != nil || len(r.Frames) != 20 || r.Stats.Decoded != 100 || r.Stats.Picked != 20 {
		t.Fatalf("%d frames, stats %+v, err %v", len(r.Frames), r.Stats, r.Err)
	}
	for i, f := range r.Frames {
		if f.Index != int64(5*i) {
			t.Errorf("frame %d is %d", i, f.Index)
		}
	}
}

func (s suite) configure(t *testing.T) {
	f, size := Open(t, "people-long.mp4")
	d := s.open(t, f, media.Job{})
	d.Grow(size, true)
	n := 0
	r := Drain(t, d, func(*media.Frame) {
		if n++; n == 10 {
			d.Configure(7, media.Sample{Every: 50})
			d.Configure(8, media.Sample{Every: 10})
		}
	})
	if r.Err != nil || len(r.Rules) != 2 || r.Rules[0].ID != 7 || r.Rules[1].ID != 8 || r.Rules[1].From < 10 || r.Rules[1].From > 50 {
		t.Fatalf("rules %v, err %v", r.Rules, r.Err)
	}
	want := []int64{}
	for i := range r.Rules[0].From {
		want = append(want, i)
	}
	for i := r.Rules[0].From; i < r.Rules[1].From; i += 50 {
		want = append(want, i)
	}
	for i := r.Rules[1].From; i < 600; i += 10 {
		want = append(want, i)
	}
	var got []int64
	for _, f := range r.Frames {
		got = append(got, f.Index)
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames %v with rules %v", got, r.Rules)
	}
}

func (s suite) held(t *testing.T) {
	f, size := Open(t, "people.mp4")
	d := s.open(t, f, media.Job{})
	d.Grow(size, true)
	var kept *media.Frame
	var sum [sha256.Size]byte
	for n := 0; n < 30; {
		o, err := d.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case o.Frame != nil && n == 5:
			kept, sum = o.Frame, sha256.Sum256(o.Frame.Views[0].Pix)
			n++
		case o.Frame != nil:
			o.Frame.Release()
			n++
		}
	}
	if sha256.Sum256(kept.Views[0].Pix) != sum || kept.Index != 5 {
		t.Error("a held frame was overwritten")
	}
	d.Close()
	if sha256.Sum256(kept.Views[0].Pix) != sum {
		t.Error("a held frame was overwritten after Close")
	}
	kept.Release()
}

func (s suite) close(t *testing.T) {
	f, size := Open(t, "people.mp4")
	d := s.open(t, f, media.Job{})
	d.Grow(size, true)
	for range 5 {
		if o, err := d.Next(t.Context()); err != nil {
			t.Fatal(err)
		} else if o.Frame != nil {
			o.Frame.Release()
		}
	}
	d.Close()
	d.Close()
	d.Grow(size, true)
	d.Configure(1, media.Sample{})
	for range 10 { // what had come out already may still come
		if o, err := d.Next(t.Context()); err != nil {
			return
		} else if o.Frame != nil {
			o.Frame.Release()
		}
	}
	t.Error("Next goes on after Close")
}

func (s suite) context(t *testing.T) {
	f, size := Open(t, "people.mp4")
	d := s.open(t, f, media.Job{})
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if _, err := d.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("err %v", err)
		}
	}
	d.Grow(size, true)
	if r := Drain(t, d, nil); r.Err != nil || len(r.Frames) != 100 {
		t.Errorf("%d frames, err %v", len(r.Frames), r.Err)
	}
}

package av

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asticode/go-astiav"

	"detections/media"
	"detections/media/mediatest"
)

// first decodes a whole file and keeps the pixels of its first picture.
func first(t *testing.T, name string, v media.View) (pix []byte, g media.Geometry, r mediatest.Run) {
	t.Helper()
	r = decode(t, read(t, name), media.Job{Views: []media.View{v}, Sample: media.Sample{Every: 1_000_000}}, func(f *media.Frame) {
		pix, g = bytes.Clone(f.Views[0].Pix), f.Views[0].Geometry
	})
	if r.Err != nil || pix == nil {
		t.Fatalf("%s: %v", name, r.Err)
	}
	return pix, g, r
}

// turned is a square picture after mirroring it and turning it clockwise.
func turned(pix []byte, side, degrees int, mirrored bool) []byte {
	out := make([]byte, len(pix))
	for y := range side {
		for x := range side {
			u, v := x, y // in the upright picture
			switch degrees {
			case 90:
				u, v = y, side-1-x
			case 180:
				u, v = side-1-x, side-1-y
			case 270:
				u, v = side-1-y, x
			}
			if mirrored {
				u = side - 1 - u
			}
			copy(out[(y*side+x)*3:], pix[(v*side+u)*3:][:3])
		}
	}
	return out
}

func TestOrientationOfRealFiles(t *testing.T) {
	v := media.View{Width: 96, Height: 96, Fit: media.Stretch}
	for _, c := range []struct {
		name, upright string
		degrees       int
		mirrored      bool
	}{
		{"rotated-90.mp4", "plain.mp4", 90, false},
		{"rotated-180.mp4", "plain.mp4", 180, false},
		{"rotated-270.mp4", "plain.mp4", 270, false},
		{"orientation-6.jpg", "frame.jpg", 90, false},
		{"orientation-2.jpg", "frame.jpg", 0, true},
	} {
		upright, _, _ := first(t, c.upright, v)
		pix, _, r := first(t, c.name, v)
		for _, degrees := range []int{0, 90, 180, 270} {
			for _, mirrored := range []bool{false, true} {
				d := mediatest.Difference(pix, turned(upright, 96, degrees, mirrored))
				if right := degrees == c.degrees && mirrored == c.mirrored; right != (d < 1) {
					t.Errorf("%s: turned by %d, mirrored %v: differs by %.1f", c.name, degrees, mirrored, d)
				}
			}
		}
		w, h := 768, 576
		if c.degrees%180 == 90 {
			w, h = h, w
		}
		if f := r.Frames[0]; r.Stream.Rotation != c.degrees || f.Width != w || f.Height != h {
			t.Errorf("%s: %+v, %+v", c.name, r.Stream, f)
		}
	}
}

// wrongly is a host that scales the first picture again, as if it were tagged otherwise.
type wrongly struct {
	*measure
	d     *decoder
	right []byte
	wrong map[string][]byte
}

func (w *wrongly) Put(o media.Output, _ media.DecodeStats) error {
	if o.Frame == nil {
		return nil
	}
	w.right = bytes.Clone(o.Frame.Views[0].Pix)
	space, rng := w.d.frame.ColorSpace(), w.d.frame.ColorRange()
	s := newScaler(w.d.job.Views)
	defer s.free()
	again := func(what string, space astiav.ColorSpace, rng astiav.ColorRange) error {
		w.d.frame.SetColorSpace(space)
		w.d.frame.SetColorRange(rng)
		err := s.scale(w.d.frame, 0, o.Frame)
		w.wrong[what] = bytes.Clone(o.Frame.Views[0].Pix)
		return err
	}
	other := astiav.ColorSpaceBt709
	if space == other {
		other = astiav.ColorSpaceSmpte170M
	}
	full := astiav.ColorRangeJpeg
	if rng == full {
		full = astiav.ColorRangeMpeg
	}
	return errors.Join(again("matrix", other, rng), again("range", space, full), errMeasured)
}

// TestColoursOfRealFiles compares encodings of the same pictures, and shows that
// the wrong matrix or range would be noticed.
func TestColoursOfRealFiles(t *testing.T) {
	v := mediatest.View
	plain, _, _ := first(t, "plain.mp4", v)
	for _, name := range []string{"10bit.mp4", "10bit-hevc.mp4", "444.mp4", "full-601.mp4", "limited-709.mp4", "full-709.mp4", "mjpeg.avi", "av1.mp4"} {
		f, size := file(t, read(t, name))
		w := &wrongly{measure: newMeasure(job, size, 0), wrong: map[string][]byte{}}
		setup()
		w.d = newDecoder(w, f, job)
		err := w.d.run()
		w.d.close()
		if !errors.Is(err, errMeasured) {
			t.Fatalf("%s: %v", name, err)
		}
		right := mediatest.Difference(w.right, plain)
		t.Logf("%s differs by %.2f", name, right)
		if right > 2.5 {
			t.Errorf("%s differs by %.2f", name, right)
		}
		for what, pix := range w.wrong {
			d := mediatest.Difference(pix, plain)
			t.Logf("with the wrong %s by %.2f", what, d)
			if d < 1.3*right {
				t.Errorf("%s: with the wrong %s it differs by %.2f, else by %.2f", name, what, d, right)
			}
		}
	}
}

func TestShapesOfRealFiles(t *testing.T) {
	v := mediatest.View
	plain, _, _ := first(t, "plain.mp4", v)
	for name, want := range map[string]media.Geometry{
		"odd.webm":       {SourceW: 427, SourceH: 319, X: 0, Y: 52, W: 416, H: 311},
		"odd-444.mp4":    {SourceW: 427, SourceH: 319, X: 0, Y: 52, W: 416, H: 311},
		"anamorphic.mp4": {SourceW: 384, SourceH: 576, X: 0, Y: 52, W: 416, H: 312}, // pixels twice as wide as high
		"interlaced.ts":  {SourceW: 768, SourceH: 576, X: 0, Y: 52, W: 416, H: 312},
	} {
		pix, g, r := first(t, name, v)
		if d := mediatest.Difference(pix, plain); g != want || d > 6 {
			t.Errorf("%s: at %+v of %+v, differs by %.2f", name, g, r.Frames[0], d)
		}
	}
}

// TestTimesOfRealFiles holds times to what the files were made with, in milliseconds.
func TestTimesOfRealFiles(t *testing.T) {
	cut := func(from time.Duration) (ts []time.Duration) {
		for i := range time.Duration(21) {
			ts = append(ts, from+i*100)
		}
		return append(ts, from+2300) // packets are cut in the order of decoding
	}
	for name, want := range map[string][]time.Duration{
		"vfr.mp4":       {0, 100, 200, 500, 600, 700, 800, 1000, 1100, 1700, 1800, 1900},
		"edit-list.mp4": append(cut(0)[:21], 2200),
		"wraps.ts":      cut(-1818), // times of 33 bits begin anew within it
		"joined.ts":     append(cut(1600), cut(1600)...),
		"two-videos.ts": cut(1400)[:20],
		"repeats.mkv":   {0, 100, 200, 300, 400, 500, 600, 500, 800, 500, 500, 1100, 500, 1300, 1400, 1500, 1600, 1700, 1800, 1900, 2000, 2300},
	} {
		r := decode(t, read(t, name), media.Job{Views: []media.View{{Width: 32, Height: 32}}}, nil)
		var got []time.Duration
		for i, f := range r.Frames {
			got = append(got, f.PTS.Round(time.Millisecond)/time.Millisecond)
			if f.Index != int64(i) {
				t.Errorf("%s: frame %d is %d", name, i, f.Index)
			}
		}
		if r.Err != nil || r.Stats.Undecoded.Total() != 0 || !slices.Equal(got, want) {
			t.Errorf("%s: times %v, want %v, stats %+v, err %v", name, got, want, r.Stats, r.Err)
		}
	}
}

func TestTheRightStreamIsChosen(t *testing.T) {
	_, _, r := first(t, "many-streams.mkv", mediatest.View) // the second video is the default one
	if r.Stream.Width != 768 || r.Stats.Decoded != 20 {
		t.Errorf("%+v", r.Stream)
	}
	_, _, r = first(t, "two-videos.ts", mediatest.View) // nothing tells them apart: the first
	if r.Stream.Width != 160 || r.Stats.Decoded != 20 {
		t.Errorf("%+v", r.Stream)
	}
}

func TestGarbageBehindTheEndIsHarmless(t *testing.T) {
	for _, c := range mediatest.Files {
		name := "garbage-" + c.Name
		if !slices.Contains([]string{"people.mp4", "people.ts", "people.mkv", "people.avi", "people.flv", "people.mpg", "people.h264", "people-vp8.ivf", "av1.obu", "mjpeg.mjpeg", "frame.jpg", "frame.png"}, c.Name) {
			continue
		}
		_, _, r := first(t, name, media.View{Width: 32, Height: 32})
		if n := int(r.Stats.Decoded); r.Stream.Container != c.Container || n > c.Frames || n < c.Frames-1 || r.Stats.Undecoded.Total() > 2 {
			t.Errorf("%s: %+v, stats %+v", name, r.Stream, r.Stats)
		}
	}
}

func TestExtremesHaveATypedOutcome(t *testing.T) {
	_, g, r := first(t, "1x1.png", mediatest.View)
	if r.Frames[0].Width != 1 || g.W != 416 || g.H != 416 {
		t.Errorf("1×1: %+v at %+v", r.Frames[0], g)
	}
	for name, want := range map[string]struct {
		kind error
		says string
	}{
		"16384x16384.png":   {media.ErrTooLarge, "more than 16588800 pixels"},
		"unknown-codec.mkv": {media.ErrUnsupported, "the input has a video stream (ffv1) but no video that can be decoded; offered are mp4"},
		"animated.webp":     {media.ErrUnsupported, "an animated WebP picture; offered are"},
		"archive.bin":       {media.ErrUnsupported, "of no known format; offered are"},
		"words.srt":         {media.ErrUnsupported, "plain text"},
	} {
		r := decode(t, read(t, name), job, nil)
		if !errors.Is(r.Err, want.kind) || !strings.Contains(r.Err.Error(), want.says) {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
}

// TestFramesPerSecondOfRawStreams: the job's word goes before the stream's, that before 25.
func TestFramesPerSecondOfRawStreams(t *testing.T) {
	for _, c := range []struct {
		name string
		fps  float64
		step time.Duration
	}{
		{"people.h264", 0, 100 * time.Millisecond},
		{"people.h264", 50, 20 * time.Millisecond},
		{"mjpeg.mjpeg", 0, 40 * time.Millisecond},
		{"mjpeg.mjpeg", 30, 33333333},
	} {
		r := decode(t, read(t, c.name), media.Job{Views: job.Views, FPS: c.fps, Sample: media.Sample{Every: 2}}, nil)
		if r.Err != nil || r.Frames[1].PTS-2*c.step > 1 || r.Frames[1].PTS < 2*c.step || r.Stream.FrameRate != float64(time.Second)/float64(c.step) && c.fps != 30 {
			t.Errorf("%s at %v: %v, %+v, err %v", c.name, c.fps, r.Frames[1].PTS, r.Stream, r.Err)
		}
	}
}

package av

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/media"
	"detections/media/mediatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var job = media.Job{Views: []media.View{mediatest.View}}

// file makes a file of bytes.
func file(t testing.TB, b []byte) (*os.File, int64) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	return f, int64(len(b))
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(mediatest.Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode runs a whole file through the loop in this process.
func decode(t testing.TB, b []byte, j media.Job, each func(*media.Frame)) mediatest.Run {
	t.Helper()
	f, size := file(t, b)
	d, err := Open(f, j)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Grow(size, true)
	return mediatest.Drain(t, d, each)
}

// rotate rewrites the display matrix of all tracks of an MP4.
func rotate(mp4 []byte, degrees int) []byte {
	matrices := map[int][4]int32{0: {1, 0, 0, 1}, 90: {0, 1, -1, 0}, 180: {-1, 0, 0, -1}, 270: {0, -1, 1, 0}}
	m := matrices[degrees]
	out := bytes.Clone(mp4)
	for at := 0; ; {
		i := bytes.Index(out[at:], []byte("tkhd"))
		if i < 0 {
			return out
		}
		at += i + 4
		matrix := out[at+40:] // version 0: flags, two times, id, duration, layer and volume
		for k, pos := range []int{0, 1, 3, 4} {
			binary.BigEndian.PutUint32(matrix[4*pos:], uint32(m[k]<<16))
		}
	}
}

func TestRotationOfTheContainerIsApplied(t *testing.T) {
	mp4 := read(t, "people.mp4")
	small := media.Job{Views: []media.View{{Width: 96, Height: 96}}, Sample: media.Sample{Every: 1000}}
	var upright []byte
	decode(t, mp4, small, func(f *media.Frame) { upright = bytes.Clone(f.Views[0].Pix) })
	for _, degrees := range []int{0, 90, 180, 270} {
		r := decode(t, rotate(mp4, degrees), small, func(f *media.Frame) {
			turned := make([]byte, len(upright))
			for y := range 96 {
				for x := range 96 {
					u, v := x, y // in the upright picture
					switch degrees {
					case 90:
						u, v = y, 95-x
					case 180:
						u, v = 95-x, 95-y
					case 270:
						u, v = 95-y, x
					}
					copy(turned[(y*96+x)*3:], upright[(v*96+u)*3:][:3])
				}
			}
			if d := mediatest.Difference(f.Views[0].Pix, turned); d > 0.5 {
				t.Errorf("%d°: differs by %.2f", degrees, d)
			}
		})
		w, h := 768, 576
		if degrees%180 == 90 {
			w, h = h, w
		}
		if s := r.Stream; s == nil || s.Rotation != degrees || s.Width != w || s.Height != h || r.Frames[0].Width != w || r.Frames[0].Height != h {
			t.Errorf("%d°: %+v, %+v", degrees, s, r.Frames[0])
		}
	}
}

// TestFirstFrameNeedsNoMoreThanItsPackets holds the first frame to the bytes of the
// packets that a decoder must have seen, with a little of what follows.
func TestFirstFrameNeedsNoMoreThanItsPackets(t *testing.T) {
	for name, most := range map[string]int64{
		"people.mp4": 114_027, "people-bframes.mp4": 99_552, "people-frag.mp4": 113_019,
		"people.mkv": 112_648, "people-vp8.webm": 84_646, "people-vp9.webm": 71_754, "people.ts": 147_204,
		"people.avi": 118_000, "people.flv": 113_000, "people.mpg": 147_000, "people.h264": 113_000, "people-vp8.ivf": 84_646,
	} {
		f, _ := mediatest.Open(t, name)
		c, err := Measure(f, job)
		if err != nil || c.FirstFrame > most || c.FirstFrame < 20_000 || c.Stats.Decoded != 100 {
			t.Errorf("%s: first frame after %d of %d bytes, want %d; err %v", name, c.FirstFrame, c.Size, most, err)
		}
		t.Logf("%-20s first frame %7d of %d (%.1f %%), CPU %v per frame", name, c.FirstFrame, c.Size, 100*float64(c.FirstFrame)/float64(c.Size), c.PerFrame())
	}
}

func TestTooLargePicturesAreRefusedCheaply(t *testing.T) {
	bomb := read(t, "frame.png")
	binary.BigEndian.PutUint32(bomb[16:], 30_000) // width and height in IHDR
	binary.BigEndian.PutUint32(bomb[20:], 30_000)
	begin := time.Now()
	r := decode(t, bomb, job, nil)
	if !errors.Is(r.Err, media.ErrTooLarge) || time.Since(begin) > time.Second {
		t.Errorf("%v after %v", r.Err, time.Since(begin))
	}
	mp4 := read(t, "people.mp4")
	at := bytes.Index(mp4, []byte("stsd")) + 16 + 28 // width and height in the first sample entry
	binary.BigEndian.PutUint16(mp4[at:], 60_000)
	binary.BigEndian.PutUint16(mp4[at+2:], 60_000)
	if r := decode(t, mp4, job, nil); !errors.Is(r.Err, media.ErrTooLarge) {
		t.Error(r.Err)
	}
}

func TestFlippedBytesNeverEndBadly(t *testing.T) {
	quick := media.Job{Views: []media.View{{Width: 32, Height: 32}}, Sample: media.Sample{Every: 20}}
	for _, name := range []string{"people.mp4", "people-frag.mp4", "people.ts", "people.mkv", "people-vp8.webm", "frame.jpg", "frame.png"} {
		whole := read(t, name)
		for seed := range 6 {
			b := bytes.Clone(whole[:min(len(whole), 250_000)])
			for i, r := range noise(4 * 64)[:64] {
				b[(i*3989+seed*7919+int(r)*977)%len(b)] ^= 1 << (r % 8)
			}
			r := decode(t, b, quick, nil)
			var e *media.Error
			if r.Err != nil && (!errors.As(r.Err, &e) || errors.Is(e.Kind, media.ErrInput)) {
				t.Errorf("%s: %v", name, r.Err)
			}
		}
	}
}

// host is a measure that keeps the log.
type host struct {
	*measure
	lines []string
}

func (h *host) Log(line string) { h.lines = append(h.lines, line) }

func TestFFmpegLogsToTheHost(t *testing.T) {
	f, size := file(t, read(t, "people-corrupt.mp4"))
	h := &host{measure: newMeasure(job, size, 0)}
	if _, err := Decode(h, f, job); err != nil {
		t.Fatal(err)
	}
	if len(h.lines) == 0 || !strings.Contains(strings.Join(h.lines, ""), "h264") {
		t.Errorf("lines %q", h.lines)
	}
}

func TestCloseEndsALoopThatWaits(t *testing.T) {
	f, _ := mediatest.Open(t, "people.mp4")
	d, err := Open(f, job)
	if err != nil {
		t.Fatal(err)
	}
	d.Grow(50_000, false)
	d.Close()
	if _, err := d.Next(context.Background()); err == nil {
		t.Error("Next goes on")
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"people.mp4", "people-vp8.webm", "people-vp9.webm"} {
		b.Run(name, func(b *testing.B) {
			f, _ := mediatest.Open(b, name)
			var cpu time.Duration
			var frames int64
			for b.Loop() {
				c, err := Measure(f, job)
				if err != nil {
					b.Fatal(err)
				}
				cpu, frames = cpu+c.CPU, frames+c.Stats.Decoded
			}
			b.ReportMetric(float64(cpu.Microseconds())/float64(frames), "cpu-µs/frame")
		})
	}
}

//go:build cgo

package mediatest_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"detections/media"
	"detections/media/mediatest"
	"detections/media/worker"
)

// What no input may take.
const (
	absurdTime   = 20 * time.Second
	absurdMemory = 128 << 10 // kB, of the largest decoder process
)

// absurd is an input, and what must become of it: so many pictures at least, and not
// more than most; or no picture, and an error of a kind.
type absurd struct {
	name        string
	make        func(*testing.T) []byte // nil: it is the test file of that name
	least, most int
	damaged     bool // packets are counted as corrupt
	kind        error
	says        string
	step        time.Duration // between the last two pictures; 0: not to be checked
	limits      media.Limits
}

// check decodes the input in a process of its own, with a limit on its time, and
// compares what became of it.
func (a absurd) check(t *testing.T, pool *worker.Pool) {
	var text []byte
	if a.make != nil {
		text = a.make(t)
	} else {
		text = read(t, a.name)
	}
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), absurdTime)
	defer cancel()
	begin := time.Now()
	d, err := pool.Start(ctx, f, media.Job{Views: []media.View{{Width: 32, Height: 32}}, Limits: a.limits})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Grow(int64(len(text)), true)
	r := mediatest.Drain(t, d, nil)
	took, n := time.Since(begin), len(r.Frames)
	t.Logf("%8d bytes, %4d ms: %d pictures, %+v, err %v", len(text), took.Milliseconds(), n, r.Stats.Undecoded, r.Err)
	switch {
	case took > absurdTime:
		t.Errorf("it took %v", took)
	case n < a.least || n > a.most || (r.Stats.Undecoded.Total() > 0) != a.damaged:
		t.Errorf("%d pictures, %d to %d were expected, stats %+v, err %v", n, a.least, a.most, r.Stats, r.Err)
	case a.kind == nil && r.Err != nil, !errors.Is(r.Err, a.kind), a.kind != nil && !strings.Contains(r.Err.Error(), a.says):
		t.Errorf("err %v, expected %v", r.Err, a.kind)
	case a.step > 0 && r.Frames[n-1].PTS-r.Frames[n-2].PTS != a.step:
		t.Errorf("the last pictures are at %v and %v", r.Frames[n-2].PTS, r.Frames[n-1].PTS)
	}
}

func checkAll(t *testing.T, inputs []absurd) {
	t.Helper()
	peaks := newPeaks(t)
	pool := worker.NewPool(worker.Config{Args: []string{worker.Argument, peaks.path}})
	for _, a := range inputs {
		t.Run(a.name, func(t *testing.T) { a.check(t, pool) })
	}
	pool.Close()
	told := peaks.read(t)
	if len(told) != len(inputs) || slices.Min(told) == 0 {
		t.Fatalf("%d of %d processes told how much memory they had", len(told), len(inputs))
	}
	if most := slices.Max(told); most > absurdMemory {
		t.Errorf("a decoder process had %d MB", most>>10)
	} else {
		t.Logf("the largest process had %d MB", most>>10)
	}
}

func TestPicturesOfAbsurdSizeAreDecodedOrTooLarge(t *testing.T) {
	long(t)
	const says = "more than 16588800 pixels"
	side := []byte{0x40, 0, 0x40, 0} // 16384×16384
	checkAll(t, []absurd{
		{name: "1x1.webm", least: 20, most: 20},
		{name: "1x1.avi", least: 20, most: 20},
		{name: "1x1.png", least: 1, most: 1},
		{name: "16384x16384.png", kind: media.ErrTooLarge, says: says},
		{name: "16384x16384.jpg", make: patch("frame.jpg", "\xff\xc0", 5, side), kind: media.ErrTooLarge, says: says},
		{name: "16384x16384.mjpeg", make: patch("mjpeg.mjpeg", "\xff\xc0", 5, side), kind: media.ErrTooLarge, says: says},
		{name: "16384x16384.bmp", make: patch("frame.bmp", "BM", 18, []byte{0, 0x40, 0, 0, 0, 0x40, 0, 0}), kind: media.ErrTooLarge, says: says},
		{name: "65535x65535.gif", make: patch("frame.gif", "GIF8", 6, []byte{0xff, 0xff, 0xff, 0xff}), kind: media.ErrTooLarge, says: says},
		{name: "16383x16383.ivf", make: patch("people-vp8.ivf", "\x9d\x01\x2a", 3, []byte{0xff, 0x3f, 0xff, 0x3f}), kind: media.ErrTooLarge, says: says},
		{name: "16384x16384.h264", make: hugeH264, kind: media.ErrTooLarge, says: says},
	})
}

// TestAbsurdTimesAreDecoded where the limits allow it.
func TestAbsurdTimesAreDecoded(t *testing.T) {
	long(t)
	inputs := []absurd{
		{name: "million-fps.mp4", least: 20, most: 20, step: time.Microsecond},
		{name: "million-fps.h264", least: 5, most: 5, step: 40 * time.Millisecond}, // not believed
		{name: "ages.mp4", least: 19, most: 20, step: 100_000_000 * time.Second},
		{name: "ages.mkv", least: 20, most: 20, step: 100_000_000 * time.Second},
		{name: "wraps.ts", least: 22, most: 22},
		{name: "wraps.mpg", least: 22, most: 22},
		{name: "wraps.flv", least: 22, most: 22},
		{name: "joined.ts", least: 44, most: 44},   // they jump back
		{name: "repeats.mkv", least: 22, most: 22}, // they stand still
		// Beyond what 64 bits of nanoseconds hold.
		{name: "overflow.mkv", make: patch("ages.mkv", "\x2a\xd7\xb1", 4, []byte{0xff, 0xff, 0xff}), least: 20, most: 20},
		{name: "overflow.mp4", make: patch("people-frag.mp4", "tfdt", 8, []byte{0x40}), least: 90, most: 100},
		{name: "overflow-max.mp4", make: patch("people-frag.mp4", "tfdt", 8, []byte{0x7f, 255, 255, 255, 255, 255, 255, 255}), kind: media.ErrDecode},
		{name: "endless.mp4", make: patch("people.mp4", "mvhd", 20, []byte{255, 255, 255, 254}), least: 100, most: 100},
		// A second has no or four billion ticks; by its edit list the film then ends at once.
		{name: "no-timescale.mp4", make: patch("people.mp4", "mdhd", 16, []byte{0, 0, 0, 0}), least: 1, most: 100},
		{name: "fine-timescale.mp4", make: patch("people.mp4", "mdhd", 16, []byte{255, 255, 255, 255}), least: 1, most: 100},
	}
	for i := range inputs {
		inputs[i].limits = media.Limits{Duration: 1<<63 - 1, FrameRate: 1e9}
	}
	checkAll(t, inputs)
}

func TestWhatIsBeyondALimitIsRefused(t *testing.T) {
	long(t)
	checkAll(t, []absurd{
		{name: "million-fps.mp4", make: patch("million-fps.mp4", "stts", 24, []byte{0, 0, 0, 1}), kind: media.ErrTooLarge, says: "the video has 1000000 frames per second, more than 1000 (setting max-frame-rate)"},
		{name: "million-fps.mkv", make: patch("people.mkv", "\x23\xe3\x83\x84", 4, []byte{0, 0, 3, 0xe8}), kind: media.ErrTooLarge, says: "has 30000 frames per second"}, // as far as FFmpeg can count,
		{name: "people.mp4", limits: media.Limits{FrameRate: 9}, kind: media.ErrTooLarge, says: "10 frames per second, more than 9"},
		{name: "ages.mp4", kind: media.ErrTooLarge, says: "more than 24h0m0s (setting max-duration)"},
		{name: "ages.mkv", kind: media.ErrTooLarge, says: "(setting max-duration)"},
		{name: "people.ts", limits: media.Limits{Duration: 5 * time.Second}, least: 50, most: 51, kind: media.ErrTooLarge, says: "lasts 5s, more than 5s"},
		{name: "people.ts", limits: media.Limits{Pixels: 1000}, kind: media.ErrTooLarge, says: "the pictures are 768×576, more than 1000 pixels (setting max-pixels)"},
		{name: "frame.png", limits: media.Limits{Pixels: 1000}, kind: media.ErrTooLarge, says: "768×576, more than 1000 pixels"},
		{name: "9-videos.mp4", limits: media.Limits{Streams: 8}, kind: media.ErrTooLarge, says: "more than 8 streams (setting max-streams)"},
		{name: "people.mp4", limits: media.Limits{Containers: []string{"webm", "jpeg"}}, kind: media.ErrUnsupported, says: "the input is mp4, which is not among the containers that are allowed (setting containers); offered are webm, jpeg with"},
		{name: "mjpeg.mjpeg", limits: media.Limits{Containers: []string{"jpeg"}}, kind: media.ErrUnsupported, says: "the input is mjpeg"},
		{name: "hevc.mp4", limits: media.Limits{Codecs: []string{"h264", "vp8"}}, kind: media.ErrUnsupported, says: "a video stream (hevc) but no video that can be decoded; offered are"},
		{name: "frame.png", limits: media.Limits{Codecs: []string{"mjpeg"}}, kind: media.ErrUnsupported, says: "png is not a codec that is decoded here"},
		{name: "people.flv", limits: media.Limits{Codecs: []string{"vp8"}, ProbePackets: 10}, kind: media.ErrUnsupported, says: "no video that can be decoded"},
	})
}

func TestAbsurdNumbersOfStreamsAreDecodedOrTooLarge(t *testing.T) {
	long(t)
	const says = "more than 64 streams"
	checkAll(t, []absurd{
		{name: "9-videos.mp4", least: 10, most: 10},
		{name: "40-videos.ts", least: 10, most: 10},
		{name: "200-videos.mp4", kind: media.ErrTooLarge, says: says},
		{name: "200-videos.mkv", kind: media.ErrTooLarge, says: says},
		{name: "no-samples.mp4", kind: media.ErrDecode, says: "no streams"},
		{name: "no-samples.mkv", kind: media.ErrDecode},
		{name: "empty-audio.mp4", least: 20, most: 20},
		{name: "empty-track.mp4", make: func(t *testing.T) []byte { return emptied(t, "tiny.mp4") }, kind: media.ErrDecode},
		{name: "empty-track-of-9.mp4", make: func(t *testing.T) []byte { return emptied(t, "9-videos.mp4") }, least: 10, most: 10},
	})
}

func TestHugeMetadataIsSkipped(t *testing.T) {
	long(t)
	huge := make([]byte, 16<<20)
	comment := box("udta", box("\xa9cmt", huge))
	checkAll(t, []absurd{
		{name: "index-end.mp4", make: func(t *testing.T) []byte { return moovWith(read(t, "people-moov-end.mp4"), comment) }, least: 100, most: 100},
		{name: "fragments.mp4", make: func(t *testing.T) []byte { return moovWith(read(t, "people-frag.mp4"), comment) }, least: 100, most: 100},
		{name: "void.mkv", make: beforeClusters(element("\xec", huge)), least: 100, most: 100},
		{name: "tags.mkv", make: beforeClusters(element("\x12\x54\xc3\x67", element("\x73\x73", element("\x67\xc8",
			element("\x45\xa3", []byte("COMMENT")), element("\x44\x87", bytes.Repeat([]byte("x"), len(huge))))))), least: 100, most: 100},
		{name: "exif.jpg", make: func(t *testing.T) []byte {
			part := append([]byte("\xff\xe1\xff\xff"), huge[:0xfffd]...)
			return insert(read(t, "frame.jpg"), 2, bytes.Repeat(part, 256))
		}, least: 1, most: 1},
		{name: "id3.ts", make: func(t *testing.T) []byte {
			return append(append([]byte("ID3\x04\x00\x00\x08\x00\x00\x00"), huge...), read(t, "people.ts")...)
		}, kind: media.ErrUnsupported, says: "an MP3 file"},
	})
}

// TestJoinedVideosAreDecodedAsFarAsTheContainerAllows: streams go on; of a file with
// an index or header only the first is one.
func TestJoinedVideosAreDecodedAsFarAsTheContainerAllows(t *testing.T) {
	long(t)
	joined := func(a, b string) func(*testing.T) []byte {
		return func(t *testing.T) []byte { return append(read(t, a), read(t, b)...) }
	}
	twice := func(name string) func(*testing.T) []byte { return joined(name, name) }
	checkAll(t, []absurd{
		{name: "ts", make: twice("people.ts"), least: 199, most: 200},
		{name: "mpg", make: twice("people.mpg"), least: 200, most: 200},
		{name: "mkv", make: twice("people.mkv"), least: 200, most: 200},
		{name: "avi", make: twice("people.avi"), least: 200, most: 200},
		{name: "h264", make: twice("people.h264"), least: 200, most: 200},
		{name: "obu", make: twice("av1.obu"), least: 40, most: 40},
		{name: "jpg", make: twice("frame.jpg"), least: 2, most: 2},
		{name: "png", make: twice("frame.png"), least: 1, most: 1},
		{name: "mp4", make: twice("people.mp4"), least: 100, most: 100},
		{name: "mp4, index behind", make: twice("people-moov-end.mp4"), least: 100, most: 100},
		{name: "mp4, fragments", make: twice("people-frag.mp4"), least: 100, most: 200},
		{name: "flv", make: twice("people.flv"), least: 100, most: 100, damaged: true},
		{name: "ivf", make: twice("people-vp8.ivf"), least: 100, most: 100, damaged: true},
		{name: "mp4 and mkv", make: joined("people.mp4", "people.mkv"), least: 100, most: 100},
		{name: "mkv and webm", make: joined("people.mkv", "people-vp8.webm"), least: 100, most: 100, damaged: true},
		{name: "h264 of two sizes", make: joined("people.h264", "million-fps.h264"), least: 105, most: 105},
	})
}

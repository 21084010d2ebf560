package mediatest

import (
	"testing"
	"time"

	"detections/media"
)

// Files are the test media in every container and codec that is offered.
var Files = []struct {
	Name             string
	Container, Codec string
	Frames           int
	Step             time.Duration // between two frames; 0: not to be checked
	H264             bool          // it is the stream of people.mp4
}{
	{"people.mp4", "mp4", "h264", 100, tenth, true},
	{"people.mov", "mp4", "h264", 100, tenth, true},
	{"people-frag.mp4", "mp4", "h264", 100, tenth, true},
	{"people-audio.mp4", "mp4", "h264", 100, tenth, true},
	{"people-moov-end.mp4", "mp4", "h264", 100, tenth, true},
	{"people-bframes.mp4", "mp4", "h264", 100, tenth, false},
	{"people.ts", "mpegts", "h264", 100, tenth, true},
	// In this file the start code of a picture lies across two PES packets, and
	// FFmpeg gives it the second one's time.
	{"people.mpg", "mpegps", "h264", 100, 0, true},
	{"people.mkv", "matroska", "h264", 100, tenth, true},
	{"people.avi", "avi", "h264", 100, tenth, true},
	{"people.flv", "flv", "h264", 100, tenth, true},
	{"people.h264", "h264", "h264", 100, tenth, true},
	{"people-vp8.webm", "webm", "vp8", 100, tenth, false},
	{"people-vp8.ivf", "ivf", "vp8", 100, tenth, false},
	{"people-vp9.webm", "webm", "vp9", 100, tenth, false},
	{"people-vp9.ivf", "ivf", "vp9", 100, tenth, false},
	{"hevc.mp4", "mp4", "hevc", 20, tenth, false},
	{"hevc.ts", "mpegts", "hevc", 20, tenth, false},
	{"hevc.mkv", "matroska", "hevc", 20, tenth, false},
	{"hevc.h265", "hevc", "hevc", 20, tenth, false},
	{"av1.mp4", "mp4", "av1", 20, tenth, false},
	{"av1.webm", "webm", "av1", 20, tenth, false},
	{"av1.ivf", "ivf", "av1", 20, tenth, false},
	{"av1.obu", "obu", "av1", 20, 40 * time.Millisecond, false},
	{"mpeg1.mpg", "mpegps", "mpeg1video", 50, 40 * time.Millisecond, false},
	{"mpeg2.mpg", "mpegps", "mpeg2video", 50, 40 * time.Millisecond, false},
	{"mpeg2.ts", "mpegts", "mpeg2video", 50, 40 * time.Millisecond, false},
	{"mpeg4.avi", "avi", "mpeg4", 20, tenth, false},
	{"mpeg4.mp4", "mp4", "mpeg4", 20, tenth, false},
	{"msmpeg4v3.avi", "avi", "msmpeg4v3", 20, tenth, false},
	{"mjpeg.avi", "avi", "mjpeg", 20, tenth, false},
	{"mjpeg.mjpeg", "mjpeg", "mjpeg", 20, 40 * time.Millisecond, false},
	{"cinepak.avi", "avi", "cinepak", 5, tenth, false},
	{"frame.jpg", "jpeg", "mjpeg", 1, 0, false},
	{"frame.png", "png", "png", 1, 0, false},
	{"frame.webp", "webp", "webp", 1, 0, false},
	{"frame-lossless.webp", "webp", "webp", 1, 0, false},
	{"frame.bmp", "bmp", "bmp", 1, 0, false},
	{"frame.gif", "gif", "gif", 1, 0, false},
	{"animated.gif", "gif", "gif", 1, 0, false},
}

const tenth = 100 * time.Millisecond

func (s suite) containers(t *testing.T) {
	for _, c := range Files {
		r := s.all(t, c.Name, media.Job{Views: []media.View{{Width: 32, Height: 32}}}, nil)
		if r.Err != nil || len(r.Frames) != c.Frames || r.Stream.Container != c.Container || r.Stream.Codec != c.Codec || r.Stats.Undecoded.Total() != 0 {
			t.Errorf("%s: %d frames of %+v, stats %+v, err %v", c.Name, len(r.Frames), r.Stream, r.Stats, r.Err)
			continue
		}
		for i, f := range r.Frames {
			if f.Index != int64(i) || c.Step > 0 && f.PTS-r.Frames[0].PTS != time.Duration(i)*c.Step || f.KeyPTS > f.PTS {
				t.Errorf("%s: frame %d is %d at %v, key at %v", c.Name, i, f.Index, f.PTS, f.KeyPTS)
			}
		}
	}
}

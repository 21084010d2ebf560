package mediatest

import (
	"errors"
	"strings"
	"testing"

	"detections/media"
)

func (s suite) failures(t *testing.T) {
	for _, c := range []struct {
		name string
		size int64 // of the part that is given; 0: all
		job  media.Job
		kind error
		says string
	}{
		{name: "audio-only.mp4", kind: media.ErrUnsupported, says: "the input has an audio stream (aac) but no video"},
		{name: "archive.zip", kind: media.ErrUnsupported, says: "looks like a ZIP archive"},
		{name: "text.txt", kind: media.ErrUnsupported, says: "looks like plain text"},
		{name: "empty.bin", kind: media.ErrDecode, says: "the input is empty"},
		{name: "people.mp4", size: 200, kind: media.ErrDecode, says: "ended within the index (moov)"},
		{name: "people.mkv", size: 200, kind: media.ErrDecode, says: "ended"},
		{name: "people.mp4", size: 8000, kind: media.ErrDecode, says: "ended within the first picture"},
		{name: "people.ts", size: 1000, kind: media.ErrDecode},
		{name: "frame.png", size: 5000, kind: media.ErrDecode, says: ""},
		{name: "people.mp4", job: media.Job{Picture: true}, kind: media.ErrUnsupported, says: "still picture"},
		{name: "people.mp4", job: media.Job{Container: "asf"}, kind: media.ErrUnsupported, says: "not offered"},
	} {
		f, size := Open(t, c.name)
		if c.size > 0 {
			size = c.size
		}
		d := s.open(t, f, c.job)
		d.Grow(size, true)
		r := Drain(t, d, nil)
		var e *media.Error
		if !errors.As(r.Err, &e) || !errors.Is(r.Err, c.kind) || !strings.Contains(r.Err.Error(), c.says) {
			t.Errorf("%s (%d bytes): %v: %v", c.name, size, c.kind, r.Err)
			continue
		}
		if _, again := d.Next(t.Context()); again == nil || again.Error() != r.Err.Error() {
			t.Errorf("%s: then %v", c.name, again)
		}
	}
}

func (s suite) damaged(t *testing.T) {
	r := s.all(t, "people-truncated.mp4", media.Job{}, nil)
	if !errors.Is(r.Err, media.ErrTruncated) || len(r.Frames) < 20 || len(r.Frames) > 40 || r.Stats.Undecoded.Corrupt == 0 {
		t.Errorf("truncated: %d frames, stats %+v, err %v", len(r.Frames), r.Stats, r.Err)
	}
	r = s.all(t, "people-corrupt.mp4", media.Job{}, nil)
	if r.Err != nil || r.Stats.Decoded < 90 || r.Stats.Decoded+r.Stats.Undecoded.Total() != 100 || r.Stats.Concealed+r.Stats.Undecoded.Corrupt == 0 {
		t.Errorf("corrupt: %d frames, stats %+v, err %v", len(r.Frames), r.Stats, r.Err)
	}
	// Here whole access units are lost before they can be counted.
	r = s.all(t, "people-corrupt.ts", media.Job{}, nil)
	if n := r.Stats.Decoded + r.Stats.Undecoded.Total(); r.Err != nil || n < 95 || n > 100 {
		t.Errorf("corrupt: %d frames, stats %+v, err %v", len(r.Frames), r.Stats, r.Err)
	}

	// A stream that begins between two key frames.
	f, size := Open(t, "people.ts")
	whole := s.all(t, "people.ts", media.Job{}, nil)
	d := s.open(t, tail(t, f, whole.Frames[2].Input/188*188, size), media.Job{})
	d.Grow(size-whole.Frames[2].Input/188*188, true)
	r = Drain(t, d, nil)
	if r.Err != nil || !r.Frames[0].Key || r.Stats.Undecoded.NoKeyframe == 0 {
		t.Errorf("torn: stats %+v, err %v", r.Stats, r.Err)
	}
}

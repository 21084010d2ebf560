package av

import (
	"errors"
	"slices"
	"testing"

	"detections/media"
	"detections/media/mediatest"
)

// TestSkippingChangesNothing: what a rule of frames per second picks, with its
// number, time and pixels, is what decoding everything would have given.
func TestSkippingChangesNothing(t *testing.T) {
	views := []media.View{{Width: 64, Height: 64}}
	for _, name := range []string{"people.mp4", "people-bframes.mp4", "people-frag.mp4", "people.ts", "people.mkv", "people.flv", "people.mpg", "people.avi", "edit-list.mp4", "joined.ts", "wraps.ts", "repeats.mkv", "interlaced.ts", "hevc.mp4"} {
		all := decode(t, read(t, name), media.Job{Views: views}, nil)
		for _, fps := range []float64{0.3, 2, 3, 7} {
			rule := media.Sample{FPS: fps}
			r := decode(t, read(t, name), media.Job{Views: views, Sample: rule}, nil)
			picker, n := media.NewPicker(rule), 0
			for i, f := range all.Frames {
				if !picker.Pick(f.PTS) {
					continue
				}
				if n >= len(r.Frames) || r.Frames[n].Index != f.Index || r.Frames[n].PTS != f.PTS || r.Sums[n] != all.Sums[i] {
					t.Errorf("%s at %v fps: picture %d is not the one that is picked", name, fps, f.Index)
					break
				}
				n++
			}
			if r.Err != nil || n != len(r.Frames) || r.Stats.Decoded != all.Stats.Decoded || r.Stats.Undecoded != all.Stats.Undecoded {
				t.Errorf("%s at %v fps: %d of %d picked, stats %+v, all %+v, err %v", name, fps, n, len(r.Frames), r.Stats, all.Stats, r.Err)
			}
		}
	}
}

// TestSkippingSkips counts the pictures that are not decoded.
func TestSkippingSkips(t *testing.T) {
	for name, least := range map[string]int64{"people.mp4": 25, "people-bframes.mp4": 30} {
		f, size := file(t, read(t, name))
		h := newMeasure(job, size, 0)
		setup()
		d := newDecoder(h, f, media.Job{Views: job.Views, Sample: media.Sample{FPS: 2}})
		err := d.run()
		skipped := d.skipper.skipped
		d.close()
		if err != nil || skipped < least || d.stats.Decoded != 100 {
			t.Errorf("%s: %d of %d not decoded, err %v", name, skipped, d.stats.Decoded, err)
		}
	}
}

// TestARuleThatEndsSkippingHoldsFromWhereItSays: every picture from there on comes.
func TestARuleThatEndsSkippingHoldsFromWhereItSays(t *testing.T) {
	f, size := mediatest.Open(t, "people-bframes.mp4")
	d, err := Open(f, media.Job{Views: []media.View{{Width: 32, Height: 32}}, Sample: media.Sample{FPS: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Grow(size, true)
	n := 0
	r := mediatest.Drain(t, d, func(*media.Frame) {
		if n++; n == 3 {
			d.Configure(1, media.Sample{})
		}
	})
	if r.Err != nil || len(r.Rules) != 1 {
		t.Fatal(r.Rules, r.Err)
	}
	var got []int64
	for _, f := range r.Frames {
		if f.Index >= r.Rules[0].From {
			got = append(got, f.Index)
		}
	}
	var want []int64
	for i := r.Rules[0].From; i < 100; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) || errors.Is(r.Err, media.ErrDecode) {
		t.Errorf("from %d on: %v", r.Rules[0].From, got)
	}
}

package sessiontest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"detections/infer/infertest"
	"detections/media"
	"detections/session/sessiontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, ds *sessiontest.Decoders, video string, job media.Job) media.Decoder {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(video); err != nil {
		t.Fatal(err)
	}
	if job.Views == nil {
		job.Views = []media.View{infertest.Model().Input.View()}
	}
	d, err := ds.Start(t.Context(), f, job)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// drain reads to the end and releases every frame.
func drain(t *testing.T, d media.Decoder) (frames []int64, others []media.Output, err error) {
	t.Helper()
	for {
		o, err := d.Next(t.Context())
		switch {
		case err != nil:
			return frames, others, err
		case o.Frame != nil:
			frames = append(frames, o.Frame.Index)
			o.Frame.Release()
		default:
			others = append(others, o)
		}
	}
}

func TestDecoderEndsAsTheVideoSays(t *testing.T) {
	for video, want := range map[string]struct {
		kind  error
		stats media.DecodeStats
	}{
		"Kppp":  {io.EOF, media.DecodeStats{Decoded: 4, Picked: 4}},
		"pKxpx": {io.EOF, media.DecodeStats{Decoded: 2, Picked: 2, Undecoded: media.Undecoded{Corrupt: 2, NoKeyframe: 1}}},
		"iKp":   {io.EOF, media.DecodeStats{Decoded: 2, Picked: 2}},
		"Kpzp":  {io.EOF, media.DecodeStats{Decoded: 2, Picked: 2}},
		"Kp!p":  {media.ErrDecode, media.DecodeStats{Decoded: 2, Picked: 2}},
		"Kp#p":  {media.ErrStalled, media.DecodeStats{Decoded: 2, Picked: 2}},
		"hello": {media.ErrUnsupported, media.DecodeStats{}},
		"i":     {media.ErrDecode, media.DecodeStats{}},
		"":      {media.ErrDecode, media.DecodeStats{}},
	} {
		var ds sessiontest.Decoders
		d := open(t, &ds, video, media.Job{})
		d.Grow(int64(len(video)), true)
		frames, _, err := drain(t, d)
		if !errors.Is(err, want.kind) || d.Stats() != want.stats || int64(len(frames)) != want.stats.Picked {
			t.Errorf("%q: frames %v, stats %+v, err %v", video, frames, d.Stats(), err)
		}
		if _, again := d.Next(t.Context()); !errors.Is(again, want.kind) {
			t.Errorf("%q: then %v", video, again)
		}
		d.Close()
		d.Close()
		if ds.Open() != 0 || ds.Frames.Live() != 0 {
			t.Errorf("%q: %d decoders, %d frames left", video, ds.Open(), ds.Frames.Live())
		}
	}
}

func TestDecoderWaitsForBytesSlotsAndTheIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ds := sessiontest.Decoders{Config: sessiontest.Config{Slots: 1, Unit: 2, Cost: time.Second}}
		d := open(t, &ds, "i-K-p-", media.Job{})
		defer d.Close()
		next := func() (media.Output, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			return d.Next(ctx)
		}
		d.Grow(3, false)
		if o, err := next(); err != nil || o.Waiting != media.WaitingForIndex {
			t.Errorf("output %+v, err %v", o, err)
		}
		d.Grow(6, false)
		if _, err := next(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without the index: %v", err)
		}
		d.Grow(6, true)
		if o, err := next(); err != nil || o.Stream == nil {
			t.Errorf("output %+v, err %v", o, err)
		}
		o, err := next()
		if err != nil || o.Frame.Index != 0 {
			t.Fatalf("output %+v, err %v", o, err)
		}
		if _, err := next(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a slot: %v", err)
		}
		o.Frame.Release()
		if o, err := next(); err != nil || o.Frame.Index != 1 || o.Frame.KeyPTS != 0 || o.Frame.Input != 6 {
			t.Errorf("output %+v, err %v", o, err)
		} else {
			o.Frame.Release()
		}
	})
}

func TestDecoderTakesRulesUpInOrder(t *testing.T) {
	var ds sessiontest.Decoders
	d := open(t, &ds, "Kpppppppp", media.Job{Sample: media.Sample{Every: 2}})
	defer d.Close()
	d.Grow(3, false)
	for range 3 { // the stream, frames 0 and 2
		if o, err := d.Next(t.Context()); err != nil {
			t.Fatal(err)
		} else if o.Frame != nil {
			o.Frame.Release()
		}
	}
	d.Configure(7, media.Sample{Every: 50})
	d.Configure(8, media.Sample{Every: 4})
	d.Grow(9, true)
	frames, others, err := drain(t, d)
	if !errors.Is(err, io.EOF) || !slices.Equal(frames, []int64{3, 7}) || len(others) != 2 ||
		*others[0].Rule != (media.RuleChange{ID: 7, From: 3}) || *others[1].Rule != (media.RuleChange{ID: 8, From: 3}) {
		t.Errorf("frames %v, others %v, err %v", frames, others, err)
	}
}

// infos reads a decoder to its end: what it says of every frame, less the clock.
func infos(t *testing.T, d media.Decoder) (frames []media.FrameInfo, stats media.DecodeStats, err error) {
	t.Helper()
	defer d.Close()
	for {
		o, err := d.Next(t.Context())
		if err != nil {
			return frames, d.Stats(), err
		}
		if o.Frame != nil {
			info := o.Frame.FrameInfo
			info.Ready = time.Time{}
			frames = append(frames, info)
			o.Frame.Release()
		}
	}
}

func TestDecoderGoesOnAfterAnyFrame(t *testing.T) {
	for _, video := range []string{"ippxKpxppKpppppp", "KKpxppppppzpp", "pKppppppppppp!pp"} {
		for _, rule := range []media.Sample{{}, {Every: 3}, {FPS: 9}} {
			var ds sessiontest.Decoders
			run := func(job media.Job) ([]media.FrameInfo, media.DecodeStats, error) {
				job.Sample = rule
				d := open(t, &ds, video, job)
				d.Grow(int64(len(video)), true)
				return infos(t, d)
			}
			frames, stats, err := run(media.Job{})
			for i, f := range frames {
				tail, again, err2 := run(media.Job{Resume: &f.Checkpoint, From: f.Index})
				if !slices.Equal(tail, frames[i+1:]) || again != stats || err2.Error() != err.Error() {
					t.Errorf("%s with %+v after frame %d: %+v, stats %+v, err %v, not %+v, %+v, %v", video, rule, f.Index, tail, again, err2, frames[i+1:], stats, err)
				}
			}
		}
	}
}

func TestDecoderBeginsARuleWhereItSays(t *testing.T) {
	var ds sessiontest.Decoders
	d := open(t, &ds, "Kpppppppp", media.Job{})
	d.Grow(9, true)
	first, _, _ := infos(t, d)
	for _, resume := range []*media.Checkpoint{nil, &first[1].Checkpoint, &first[3].Checkpoint} {
		d := open(t, &ds, "Kpppppppp", media.Job{Resume: resume, From: 4, Sample: media.Sample{Every: 3}})
		d.Configure(7, media.Sample{Every: 2})
		d.Grow(9, true)
		frames, others, err := drain(t, d)
		d.Close()
		if !errors.Is(err, io.EOF) || !slices.Equal(frames, []int64{4, 6, 8}) || others[len(others)-1].Rule.From != 4 {
			t.Errorf("frames %v, others %v, err %v", frames, others, err)
		}
	}
}

func TestDecoderBeginsAtTheBase(t *testing.T) {
	d := open(t, &sessiontest.Decoders{}, "xxxKpp", media.Job{Base: 3})
	defer d.Close()
	d.Grow(3, true)
	if frames, _, err := drain(t, d); !slices.Equal(frames, []int64{0, 1, 2}) || !errors.Is(err, io.EOF) || d.Stats().Undecoded.Total() != 0 {
		t.Errorf("frames %v, stats %+v, err %v", frames, d.Stats(), err)
	}
}

package worker

import (
	"log/slog"
	"testing"
	"time"

	"detections/media"
)

// FuzzMessage says anything to the parent, in the name of a process, twice. Frames that
// come out of it must be within bounds, and counters must not shrink.
func FuzzMessage(f *testing.F) {
	good := frame{slot: 3, width: 4, height: 4, input: 400, at: checkpoint(3)}
	f.Add(good.append(nil), good.append(nil))
	f.Add(appendRule(nil, media.RuleChange{ID: 1, From: 3}, good.at.Stats), []byte{protocol, msgLog, 'x'})
	for kind, v := range map[byte]any{
		msgNote: note{Stream: &media.StreamInfo{Container: "mp4", Codec: "h264", Width: 4, Height: 4}}, msgEnd: end{Kind: "decode", Message: "x"}, msgHello: nil,
	} {
		b, err := appendJSON(nil, kind, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	r, file, err := newRing(oneView)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	f.Fuzz(func(t *testing.T, one, two []byte) {
		d := &decoder{ring: r, views: oneView, log: slog.New(slog.DiscardHandler), began: time.Now(), mono: monotonic(), index: -1, size: 1000, ids: []uint32{1}}
		for slot := range r.slots {
			frame := media.NewFrame(func() { d.release(slot) })
			frame.Views = r.pictures(slot, oneView)
			d.frames = append(d.frames, frame)
		}
		for _, b := range [][]byte{one, two} {
			before := d.stats
			o, err := d.message(b)
			if err != nil {
				continue
			}
			if d.stats.Decoded < before.Decoded || d.stats.Picked < before.Picked {
				t.Errorf("counters %+v after %+v", d.stats, before)
			}
			if fr := o.Frame; fr != nil {
				if !saneSize(fr.Width, fr.Height) || fr.Input < 0 || fr.Input > d.size || fr.Index < 0 || fr.Ready.Before(d.began) {
					t.Errorf("frame %+v", fr.FrameInfo)
				}
				for _, v := range fr.Views {
					if g := v.Geometry; g.X < 0 || g.Y < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 8 || g.Y+g.H > 8 {
						t.Errorf("geometry %+v of %d×%d", g, fr.Width, fr.Height)
					}
				}
				fr.Release()
			}
		}
	})
}

// FuzzFeed says anything to a process.
func FuzzFeed(f *testing.F) {
	good := feed{size: 100, final: true, released: 3, rule: true, id: 7, sample: media.Sample{FPS: 2}}
	f.Add(good.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseFeed(b)
		if err != nil {
			return
		}
		if again, err := parseFeed(got.append(nil)); err != nil || again.size != got.size || again.released != got.released {
			t.Errorf("%+v, then %+v, err %v", got, again, err)
		}
	})
}

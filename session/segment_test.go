package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// inTime is a decoder each of whose frames is inferred before the next one comes.
var inTime = sessiontest.Config{Cost: 10 * ms}

// segments are the events that say where the input began anew.
func segments(events []event) (told []string) {
	for _, e := range events {
		if e.Type == wire.TypeSegment {
			told = append(told, fmt.Sprintf("%s at %d, %d lost", e.Reason, e.Frame, e.Missed["not_recorded"]))
		}
	}
	return told
}

func TestLiveBeginsASegmentWithAnotherFeeder(t *testing.T) {
	for name, leave := range map[string]func(*rig){
		"after a loss":   func(r *rig) { r.feeder.Detach(); time.Sleep(time.Second) },
		"as replacement": func(*rig) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
				r.send("Kpp")
				for _, more := range []string{"Kp", "pKp"} { // the last one begins in the middle
					time.Sleep(100 * ms)
					at := r.spool.Size()
					leave(r)
					var from int64
					if r.feeder, from = r.Attach(); from != at {
						t.Errorf("send from %d, not %d", from, at)
					}
					r.send(more)
				}
				r.feeder.EOF()
				events, end := r.finish()
				if got := segments(events); !slices.Equal(got, []string{"reconnected at 3, 0 lost", "reconnected at 5, 0 lost"}) {
					t.Errorf("segments %q", got)
				}
				if a := end.Accounting; end.Outcome != wire.Done || end.Bytes != 8 || a.Inferred != 7 || a.Decoded != 7 || a.Undecoded["no_keyframe"] != 1 {
					t.Errorf("end %+v", end)
				}
			})
		})
	}
}

// A feeder that sends nothing interrupts nothing that was not interrupted before.
func TestFeedersThatSendNothingBeginNoSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
		r.feeder, _ = r.Attach()
		r.send("Kpp")
		time.Sleep(100 * ms)
		for range 3 {
			r.feeder, _ = r.Attach()
		}
		r.feeder.EOF()
		r.feeder, _ = r.Attach()
		if events, end := r.finish(); segments(events) != nil || end.Outcome != wire.Done || end.Accounting.Inferred != 3 {
			t.Errorf("end %+v", end)
		}
	})
}

// What was cut off before anything could be made of it is no failure: the recorder
// that comes back begins anew. The last segment must be decodable.
func TestSegmentsThatWereCutOffAreExcused(t *testing.T) {
	for last, code := range map[string]wire.Code{"Kp": "", "?": wire.UnsupportedMedia, "xx": wire.DecodeFailed} {
		t.Run(last, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
				for _, part := range []string{"xx", "p", "K"} {
					r.send(part)
					time.Sleep(50 * ms)
					r.feeder.Detach()
					r.feeder, _ = r.Attach()
				}
				r.upload(last)
				if events, end := r.finish(); end.Code != code || end.Accounting.Undecoded["no_keyframe"] != 1 || len(segments(events)) != 3 && code == "" {
					t.Errorf("end %+v, segments %q", end, segments(events))
				}
			})
		})
	}
}

// Nobody comes back: the session ends as one that was cut off.
func TestLiveWithoutAFeederEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
		r.send("Kpp")
		r.feeder.Detach()
		if _, end := r.finish(); end.Code != wire.UploadIncomplete || end.Accounting.Inferred != 3 {
			t.Errorf("end %+v", end)
		}
	})
}

// In a later segment everything counts from its own beginning: the bytes, the
// checkpoint that a dead decoder's successor goes on after, the sampling rule.
func TestALaterSegmentIsLikeTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := inTime
		o.Deaths = 1
		r := begin(t, options{start: wire.Start{Mode: wire.Live, Sample: &wire.Sample{Every: 2}}, decoders: o})
		r.send("Kpppp")
		time.Sleep(time.Second)
		r.feeder, _ = r.Attach()
		r.send("Kppp!pp")
		time.Sleep(time.Second)
		must(t, r.Configure(&wire.Configure{ID: "a", Sample: &wire.Sample{Every: 3}}))
		r.upload("pppp")
		events, end := r.finish()
		if got := fmt.Sprint(frames(events)); got != "[0 2 4 5 7 9 11 12 15]" || end.Accounting.Decoded != 16 || end.Accounting.Skipped != 7 {
			t.Errorf("frames %s, end %+v", got, end)
		}
		for _, e := range events {
			if e.ID == "a" && e.Frame != 12 {
				t.Errorf("configured %+v", e)
			}
		}
	})
}

func TestLiveBeginsASegmentAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
		r := l.next()
		r.send("Kpp")
		time.Sleep(100 * ms)
		l.suspend(r)
		r = l.next()
		time.Sleep(time.Second) // nothing of before is decoded again
		r.send("Kp")
		time.Sleep(100 * ms)
		r.feeder, _ = r.Attach()
		r.send("K")
		time.Sleep(100 * ms)
		l.suspend(r)
		r = l.next()
		r.upload("Kp")
		events, end := r.finish()
		want := []string{"restarted at 3, 0 lost", "reconnected at 5, 0 lost", "restarted at 6, 0 lost"}
		if got := segments(events); !slices.Equal(got, want) || end.Accounting.Inferred != 8 || end.Bytes != 8 {
			t.Errorf("segments %q, end %+v", got, end)
		}
	})
}

// What was on its way when the hub ended has no result, and is counted.
func TestFramesThatARestartLostAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{
			start: wire.Start{Mode: wire.Live}, decoders: inTime, engines: []infertest.Config{{Price: infertest.Price{Run: 95 * ms}}},
		})
		r := l.next()
		r.send(video(100))
		time.Sleep(500 * ms)
		l.suspend(r)
		r = l.next()
		r.upload("K")
		events, end := r.finish()
		if got := segments(events); len(got) != 1 || end.Accounting.Dropped["not_recorded"] != 1 {
			t.Errorf("segments %q, end %+v", got, end)
		}
	})
}

// A live input that was complete is not decoded again.
func TestACompleteLiveInputEndsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{start: wire.Start{Mode: wire.Live}, decoders: inTime})
		r := l.next()
		r.upload(video(50))
		time.Sleep(105 * ms)
		l.suspend(r)
		// Ten are inferred by then; the eleventh is in the decoder, and may get through.
		if _, end := l.next().finish(); end.Outcome != wire.Done || end.Accounting.Inferred < 10 || end.Accounting.Inferred > 11 {
			t.Errorf("end %+v", end)
		}
	})
}

// Whatever is interrupted when, every frame is accounted for, and numbered once.
func TestLiveThroughManyInterruptions(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				l := newLives(t, options{
					start:    wire.Start{Mode: wire.Live, Sample: []*wire.Sample{nil, {Every: 3}}[rng.IntN(2)]},
					decoders: sessiontest.Config{Cost: time.Duration(rng.IntN(5)) * ms},
					engines:  []infertest.Config{{Price: infertest.Price{Run: time.Duration(rng.IntN(20)) * ms}}},
				})
				r := l.next()
				for range 20 {
					r.send(randomVideo(rng, rng.IntN(20)))
					time.Sleep(time.Duration(rng.IntN(60)) * ms)
					switch rng.IntN(4) {
					case 0:
						r.feeder, _ = r.Attach()
					case 1:
						r.feeder.Detach()
						r.feeder, _ = r.Attach()
					case 2:
						l.suspend(r)
						r = l.next()
					}
					// Refused before the engine is ready, and while too many changes wait.
					_ = r.Configure(&wire.Configure{Sample: &wire.Sample{Every: 1 + rng.IntN(3)}})
				}
				r.upload("K")
				if events, end := r.finish(); end.Outcome != wire.Done || len(segments(events)) == 0 {
					t.Errorf("end %+v", end)
				}
			})
		})
	}
}

package hub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

var fullSize = outbox.PictureRule{Size: outbox.FullSize}

// pictured checks that every result of a session was delivered with the picture of its
// own frame, and returns how many were. base is where the input of a frame begins, and
// first the index of its first frame.
func (r *rig) pictured(c client, input func(frame int64) (base, first int64)) (n int) {
	r.t.Helper()
	for _, e := range r.options.service.Events(c.Started.Session) {
		var d wire.Detections
		must(r.t, json.Unmarshal([]byte(e.Body), &d))
		if e.Picture == nil {
			continue
		}
		n++
		img, err := jpeg.Decode(bytes.NewReader(e.Picture.JPEG))
		must(r.t, err)
		base, first := input(d.Frame)
		grey, _, _, _ := img.At(3, 3).RGBA()
		if want := sessiontest.Shade(base, d.Frame-first); max(byte(grey>>8), want)-min(byte(grey>>8), want) > 3 {
			r.t.Errorf("frame %d has the shade %d, not %d", d.Frame, grey>>8, want)
		}
	}
	for _, v := range r.options.service.Violations() {
		r.t.Error("violation:", v[:min(len(v), 200)])
	}
	return n
}

func oneFile(int64) (base, first int64) { return 0, 0 }

func TestResultsAreDeliveredWithTheirPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := under(new(weather))
		r := open(t, options{service: s, pictures: fullSize})
		c := r.run(wire.Start{Sample: &wire.Sample{Every: 3}}, video(600))
		events := c.read()
		r.flush()
		r.delivered(c, events)
		if n := r.pictured(c, oneFile); n != 200 {
			t.Errorf("%d pictures", n)
		}
		if got := s.Events(c.Started.Session)[0].Picture; got.Width != 2*infertest.Side || got.Height != 2*infertest.Side {
			t.Errorf("%d×%d", got.Width, got.Height)
		}
		if n := r.decoders.Open(); n != 0 || len(r.spooled()) != 0 {
			t.Errorf("%d decoders and %v are left after all was delivered", n, r.spooled())
		}
		r.close()
	})
}

// A picture is taken again by the next process, from the media that was kept, with the
// rule that was in force, whatever that was asked to become on the way.
func TestPicturesSurviveARestart(t *testing.T) {
	for name, next := range map[string]func(*rig) *rig{"killed": (*rig).killed, "stopped": (*rig).restarted} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { picturesSurvive(t, next) }) })
	}
}

func picturesSurvive(t *testing.T, next func(*rig) *rig) {
	var w weather
	w.set(outboxtest.StoreReset) // stored, but who knows
	r := open(t, options{service: under(&w), pictures: fullSize})
	running, done := r.start(wire.Start{Sample: &wire.Sample{Every: 2}}), r.run(wire.Start{Sample: &wire.Sample{FPS: 10}}, strings.Repeat("Kpppppppp", 40))
	running.send(video(100))
	time.Sleep(time.Second)
	must(t, running.Session.Configure(&wire.Configure{ID: "x", Sample: &wire.Sample{Every: 5}}))
	running.send(strings.Repeat("p", 50))
	time.Sleep(time.Second)
	events := done.read()
	r = next(r)
	if files := r.spooled(); len(files) != 2 {
		t.Errorf("kept of two sessions: %v", files)
	}
	w.set(outboxtest.None)
	again := r.resume(running, 0)
	again.send(strings.Repeat("Kpppp", 20))
	again.Feeder.EOF()
	all := again.read()
	r.flush()
	r.delivered(done, events)
	r.delivered(again, all)
	if n := r.pictured(done, oneFile); n != len(events)-2 {
		t.Errorf("%d pictures of %d results", n, len(events)-2)
	}
	if n := r.pictured(again, oneFile); n < 50+30-1 {
		t.Errorf("%d pictures of %d events", n, len(all))
	}
	if files := r.spooled(); len(files) != 0 {
		t.Errorf("left after all was delivered: %v", files)
	}
	r.close()
}

func TestPicturesOfALiveSessionAreThoseOfTheirSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{service: under(new(weather)), pictures: fullSize, decoders: sessiontest.Config{Cost: 10 * ms}})
		c := r.start(wire.Start{Mode: wire.Live})
		var bases, firsts []int64
		var sent int64
		for _, part := range []string{"Kpppp", "pKppp", "x", "Kpp"} { // one has nothing in it
			c.send(part)
			bases, firsts, sent = append(bases, sent), append(firsts, 0), sent+int64(len(part))
			time.Sleep(time.Second)
			c = r.resume(c, 0)
		}
		c.Feeder.EOF()
		events := c.read()
		for _, e := range events {
			var seg wire.Segment
			if must(t, json.Unmarshal(e.Message, &seg)); e.Type == wire.TypeSegment {
				if i := slices.Index(bases, seg.Bytes); i < 1 {
					t.Errorf("a segment begins at byte %d, not one of %v", seg.Bytes, bases)
				} else {
					firsts[i] = seg.Frame
				}
			}
		}
		r.flush()
		r.delivered(c, events)
		n := r.pictured(c, func(frame int64) (int64, int64) {
			at := 0
			for i, f := range firsts {
				if f > 0 && frame >= f {
					at = i
				}
			}
			return bases[at], firsts[at]
		})
		if n != 5+4+3 {
			t.Errorf("%d pictures, segments at %v from frames %v", n, bases, firsts)
		}
		r.close()
	})
}

// More sessions than there are decoders for pictures, and a service that comes and goes.
func TestPicturesOfManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		r := open(t, options{service: under(&w), pictures: outbox.PictureRule{Size: outbox.Thumbnails}})
		var all []client
		for i := range 8 {
			w.set([]outboxtest.Fault{outboxtest.None, outboxtest.Error500, outboxtest.StoreReset}[i%3])
			all = append(all, r.run(wire.Start{}, video(40+i)))
			time.Sleep(100 * ms)
		}
		w.set(outboxtest.None)
		for _, c := range all {
			c.read()
		}
		r.flush()
		for i, c := range all {
			if n := r.pictured(c, oneFile); n != 40+i {
				t.Errorf("session %d: %d pictures", i, n)
			}
		}
		r.close()
	})
}

// Where a picture cannot be had the result is delivered without.
func TestResultsDoNotWaitForPicturesThatCannotBeHad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w weather
		w.set(outboxtest.Error500)
		r := open(t, options{service: under(&w), pictures: fullSize, limits: hub.Limits{Retention: time.Hour}})
		c := r.run(wire.Start{}, video(20))
		events := c.read()
		for _, f := range r.spooled() {
			must(t, os.Remove(f))
		}
		r = r.killed()
		w.set(outboxtest.None)
		time.Sleep(time.Second)
		r.flush()
		r.delivered(c, events)
		if n, left := r.pictured(c, oneFile), r.Outbox().State().Unpictured; n != 0 || left != 20 {
			t.Errorf("%d pictures, %d without", n, left)
		}
		r.close()
	})
}

func TestPictureRules(t *testing.T) {
	found := func(text string) (all []wire.Detection) {
		for what := range strings.FieldsSeq(text) {
			label, at, _ := strings.Cut(what, ":")
			var c float64
			_, err := fmt.Sscan(at, &c)
			must(t, err)
			all = append(all, wire.Detection{Label: label, Confidence: wire.Decimal(c)})
		}
		return all
	}
	for _, c := range []struct {
		rule        outbox.PictureRule
		now, before string
		want        bool
	}{
		{outbox.PictureRule{}, "dog:0.1", "dog:0.1", true},
		{outbox.PictureRule{}, "", "dog:1", false},
		{outbox.PictureRule{Confidence: 0.5}, "dog:0.4 cat:0.49", "", false},
		{outbox.PictureRule{Confidence: 0.5, Labels: []string{"cat"}}, "dog:0.9 cat:0.4", "", false},
		{outbox.PictureRule{Confidence: 0.5, Labels: []string{"cat"}}, "dog:0.9 cat:0.5", "cat:1", true},
		{outbox.PictureRule{When: outbox.OnArriving}, "dog:0.9 cat:0.5", "cat:1", true},
		{outbox.PictureRule{When: outbox.OnArriving}, "cat:0.5 cat:0.6", "dog:1 cat:0.1", false},
		{outbox.PictureRule{When: outbox.OnArriving, Confidence: 0.5}, "cat:0.5", "cat:0.1", true},
		{outbox.PictureRule{When: outbox.OnArriving, Labels: []string{"cat"}}, "dog:0.5 cat:1", "cat:0.1", false},
	} {
		if got := c.rule.Wants(found(c.now), found(c.before)); got != c.want || got && !c.rule.Tells(found(c.now)) {
			t.Errorf("%+v of %q after %q: %v", c.rule, c.now, c.before, got)
		}
	}
}

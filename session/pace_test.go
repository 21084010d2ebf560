package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"detections/media"
	"detections/session"
	"detections/session/wire"
)

// camera sends 20 units of 1000 bytes per second: a key frame first and when it is asked for
// one. Before each another one was lost. It returns how many it has sent.
func (r *rig) camera(d time.Duration) (sent int64) {
	r.t.Helper()
	key := true
	for ; d > 0; d -= 50 * ms {
		u := media.Unit{Codec: "vp8", Key: key, Lost: 1, PTS: time.Duration(sent) * 50 * ms, Data: make([]byte, 1000-media.UnitHeader)}
		must(r.t, r.feeder.WriteUnit(&u))
		sent++
		time.Sleep(50 * ms)
		key = r.feeder.WantsKey()
	}
	return sent
}

var fromCamera = wire.Start{Mode: wire.Live, Media: wire.Media{Container: media.Units}}

func TestCameraIsTakenAsFarAsItsClientHasBytesLeft(t *testing.T) {
	for name, c := range map[string]struct {
		rate        float64
		least, most int64 // of 1200 units that are taken
	}{
		"enough": {20_000, 1200, 1200}, "half": {10_000, 560, 620}, "little": {1000, 50, 63},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pace := session.NewPace(0, c.rate, 0)
				r := begin(t, options{start: fromCamera, pace: pace, staged: true, maxBytes: 1 << 30})
				sent := r.camera(time.Minute)
				if wait := pace.Wait(); wait > 2*time.Second {
					t.Errorf("other work of the client waits for %v", wait)
				}
				r.feeder.EOF()
				_, end := r.finish()
				a := end.Accounting
				if a.Decoded < c.least || a.Decoded > c.most || a.Decoded+a.Undecoded["rate_limited"] != sent || a.Undecoded["no_keyframe"] > 0 {
					t.Errorf("of %d units: %+v", sent, a)
				}
				if lost := a.Undecoded["lost"]; lost > sent || lost < sent-20 { // what the last ones told was told to nobody
					t.Errorf("%d of %d are told as lost", lost, sent)
				}
			})
		})
	}
}

func TestCameraGetsBytesBesideAnUploadOfItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := session.NewPace(0, 30_000, 0)
		r := begin(t, options{start: fromCamera, pace: pace, staged: true, maxBytes: 1 << 30})
		up := begin(t, options{pace: pace, staged: true})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 20 {
				_, _ = up.feeder.Paced().Write(make([]byte, 10_000))
			}
		}()
		sent := r.camera(10 * time.Second)
		<-done
		r.feeder.EOF()
		up.Cancel()
		up.finish()
		if _, end := r.finish(); end.Accounting.Decoded != sent {
			t.Errorf("of %d units: %+v", sent, end.Accounting)
		}
	})
}

func TestUnitsThatWereRefusedAreRememberedInAnotherLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLives(t, options{start: fromCamera, pace: session.NewPace(0, 10_000, 0), staged: true})
		r := l.next()
		r.camera(10 * time.Second)
		synctest.Wait()
		before := r.Status().Accounting.Undecoded["rate_limited"]
		l.suspend(r)
		r = l.next()
		got := r.Status().Accounting.Undecoded["rate_limited"]
		if before == 0 || got == 0 || got > before { // as of the last result
			t.Errorf("%d units were refused, and then %d", before, got)
		}
		r.camera(50 * ms)
		r.feeder.EOF()
		r.finish()
	})
}

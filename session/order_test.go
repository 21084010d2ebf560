package session_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
	"detections/media/spool"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// unequal are engines that answer out of order.
func unequal() []infertest.Config {
	return []infertest.Config{
		{Price: infertest.Price{Run: 31 * ms}, MaxBatch: 1},
		{Price: infertest.Price{Run: 7 * ms}, MaxBatch: 1},
		{Price: infertest.Price{Run: 2 * ms, Image: 9 * ms}, MaxBatch: 3},
	}
}

func TestEveryFrameHasOneEventInOrderWhateverTheEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: unequal(), decoders: sessiontest.Config{Slots: 8}})
		v := video(300)
		r.upload(v)
		events, end := r.finish()
		if n := len(frames(events)); n != 300 || len(events) != 302 {
			t.Errorf("%d events, %d of frames", len(events), n)
		}
		for _, e := range results(events) {
			if len(e.Detections) != 1 {
				t.Errorf("frame %d: %v", e.Frame, e.Detections)
			}
		}
		sum := sha256.Sum256([]byte(v))
		if end.Outcome != wire.Done || end.Code != "" || end.Bytes != 300 || end.MediaSHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("end %+v", end)
		}
	})
}

func TestResultsComeWhileTheUploadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{decoders: sessiontest.Config{Unit: 10}})
		for i := range 25 {
			r.send("Kpxxx")
			synctest.Wait()
			if n := len(frames(r.events())); n != (5*i+5)/10 {
				t.Errorf("after %d bytes %d results", 5*i+5, n)
			}
		}
		r.feeder.EOF()
		r.finish()
	})
}

func TestUndecodableUnitsAreCountedBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Sample: &wire.Sample{Every: 2}}})
		r.upload("ppKxpppxxpp")
		events, end := r.finish()
		a := end.Accounting
		if a.Decoded != 6 || a.Inferred != 3 || a.Skipped != 3 || a.Undecoded["corrupt"] != 3 || a.Undecoded["no_keyframe"] != 2 {
			t.Errorf("results %v, accounting %+v", frames(events), a)
		}
	})
}

func TestOneBadImageCostsOneFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engines := unequal()
		for i := range engines {
			engines[i].Before = func(e *infertest.Engine, n int) error {
				for i := range n {
					if e.Tag(i)%10 == 7 {
						return errors.New("cannot take this one")
					}
				}
				return nil
			}
		}
		r := begin(t, options{engines: engines})
		r.upload(video(40))
		events, end := r.finish()
		for _, e := range results(events) {
			if bad := e.Frame%10 == 7; bad != (e.Error != nil) || bad && e.Error.Code != wire.Internal || !bad && len(e.Detections) != 1 {
				t.Errorf("frame %d: %+v", e.Frame, e)
			}
		}
		if a := end.Accounting; end.Outcome != wire.Done || a.Inferred != 36 || a.Failed["engine_error"] != 4 {
			t.Errorf("end %+v", end)
		}
	})
}

func TestSlowJournalHoldsTheDecoderBackAndNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(wire.Event) error { time.Sleep(5 * ms); return nil }
		r := begin(t, options{append: slow})
		r.upload(video(500))
		most := int64(0)
		for range 400 {
			time.Sleep(7 * ms)
			most = max(most, r.Status().Accounting.Pending)
		}
		_, end := r.finish()
		if end.Accounting.Inferred != 500 || most < 10 || most > 64+4 {
			t.Errorf("inferred %d, pending at most %d", end.Accounting.Inferred, most)
		}
	})
}

func TestSlowEnginesHoldTheDecoderBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: []infertest.Config{{Price: infertest.Price{Run: time.Second}, MaxBatch: 2}}})
		r.upload(video(50))
		time.Sleep(50 * ms) // between two batches
		for range 20 {
			time.Sleep(time.Second)
			if p := r.Status().Accounting.Pending; p > 2+4 {
				t.Errorf("%d frames are pending", p)
			}
		}
		if _, end := r.finish(); end.Accounting.Inferred != 50 {
			t.Errorf("end %+v", end)
		}
	})
}

func TestSpoolOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a.media")
		s, err := spool.Create(path)
		must(t, err)
		r := begin(t, options{spool: s})
		for range 100 {
			r.send("Kpppp")
		}
		r.feeder.EOF()
		if _, end := r.finish(); end.Accounting.Inferred != 500 || r.Status().Acked != 500 {
			t.Errorf("end %+v, status %+v", end, r.Status())
		}
	})
}

func TestLabelsFilterDetectionsNotFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Detect: &wire.Detect{Labels: []string{"green"}}}})
		r.upload(video(9))
		events, _ := r.finish()
		for _, e := range results(events) {
			if found := len(e.Detections) == 1; found != (e.Frame%3 == 1) {
				t.Errorf("frame %d: %v", e.Frame, e.Detections)
			}
		}
		if l := events[0].Detect.Labels; len(l) != 1 || l[0] != "green" {
			t.Errorf("configured %+v", events[0])
		}
	})
}

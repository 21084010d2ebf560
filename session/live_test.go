package session_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func TestLiveInfersTheNewestFrameAndCountsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const run = 93300 * time.Microsecond
		r := begin(t, options{
			start: wire.Start{Mode: wire.Live}, decoders: sessiontest.Config{Cost: 10 * ms},
			engines: []infertest.Config{{Price: infertest.Price{Run: run}}},
		})
		r.upload(video(100))
		events, end := r.finish()
		for i, f := range frames(events) {
			free := 10*ms + time.Duration(i)*run // since the first frame was complete
			if newest := min(99, int64(free/(10*ms))-1); f != newest {
				t.Errorf("result %d is of frame %d, the newest was %d", i, f, newest)
			}
		}
		if a := end.Accounting; a.Inferred != 12 || a.Dropped["superseded"] != 88 || end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
	})
}

func TestLiveGivesNoLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{
			start: wire.Start{Mode: wire.Live, BudgetMS: 200}, decoders: sessiontest.Config{Cost: 10 * ms},
			engines: []infertest.Config{{Price: infertest.Price{Run: time.Second}}},
		})
		r.upload(video(3)) // the third is complete at 30 ms, and the engine free at 1010 ms
		events, end := r.finish()
		if a := end.Accounting; len(frames(events)) != 1 || a.Dropped["superseded"] != 1 || a.Dropped["stale"] != 1 {
			t.Errorf("end %+v", end)
		}
	})
}

// Nothing else wakes the session when its last frame is given up.
func TestLiveEndsWhenItsLastFrameIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{
			start: wire.Start{Mode: wire.Live, BudgetMS: 200}, engines: []infertest.Config{{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}},
		})
		o := &other{frame: r.decoders.Frames.Frame(0)} // has the engine
		place, err := r.batcher.Join(o, infer.Client{})
		must(t, err)
		place.Ready(1)
		synctest.Wait()
		r.upload(video(1))
		if _, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Dropped["stale"] != 1 {
			t.Errorf("end %+v", end)
		}
	})
}

func TestLiveHasOneFrameInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		var engines []infertest.Config
		for i := range 3 {
			engines = append(engines, infertest.Config{
				Before: func(*infertest.Engine, int) error {
					most.Store(max(most.Load(), running.Add(1)))
					time.Sleep(time.Duration(30+i) * ms)
					running.Add(-1)
					return nil
				},
			})
		}
		r := begin(t, options{start: wire.Start{Mode: wire.Live}, engines: engines, decoders: sessiontest.Config{Cost: 2 * ms}})
		r.upload(video(200))
		if _, end := r.finish(); most.Load() != 1 || end.Accounting.Inferred < 10 {
			t.Errorf("%d in flight, end %+v", most.Load(), end)
		}
	})
}

// The journal is as slow as it is: live frames are dropped, not kept.
func TestLiveWithASlowJournalStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{
			start: wire.Start{Mode: wire.Live}, decoders: sessiontest.Config{Cost: ms},
			append: func(wire.Event) error { time.Sleep(50 * ms); return nil },
		})
		r.upload(video(1000))
		most := int64(0)
		for range 200 {
			time.Sleep(7 * ms)
			most = max(most, r.Status().Accounting.Pending)
		}
		if _, end := r.finish(); most < 60 || most > 64+2 || end.Accounting.Dropped["superseded"] < 800 {
			t.Errorf("pending at most %d, end %+v", most, end)
		}
	})
}

func TestLiveNeverWaitsForAnIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Mode: wire.Live}})
		r.send("iKp")
		if _, end := r.finish(); end.Code != wire.UnsupportedMedia {
			t.Errorf("end %+v", end)
		}
	})
}

package session_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func TestPercentOfTheMediaThatIsDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Media: wire.Media{Size: 200}}})
		for sent := 20; sent <= 200; sent += 20 {
			r.send(video(20))
			time.Sleep(time.Second)
			st := r.Status()
			if st.Percent != float64(sent)/2 {
				t.Errorf("after %d bytes: %v %%", sent, st.Percent)
			}
			if left := time.Duration(200-sent) / 20 * time.Second; sent < 200 && (st.ETA-left).Abs() > ms {
				t.Errorf("after %d bytes: %v left, should be %v", sent, st.ETA, left)
			}
		}
		r.feeder.EOF()
		r.finish()
		if st := r.Status(); st.Percent != 100 || st.ETA != 0 {
			t.Errorf("at the end: %v %%, %v left", st.Percent, st.ETA)
		}
	})
}

func TestPercentIsNotKnownBeforeTheSizeIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{engines: []infertest.Config{{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}}})
		r.send(video(10))
		synctest.Wait()
		if st := r.Status(); st.Percent != -1 || st.Progress().Percent != nil {
			t.Errorf("%v %%", st.Percent)
		}
		r.feeder.EOF()
		if st := r.Status(); st.Percent < 10 || st.Percent > 60 || st.Progress().Percent == nil {
			t.Errorf("%v %%", st.Percent)
		}
		r.finish()
	})
}

// A declared size that is wrong does no harm.
func TestPercentStaysWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{start: wire.Start{Media: wire.Media{Size: 3}}})
		r.send(video(10))
		synctest.Wait()
		if p := r.Status().Percent; p != 100 {
			t.Errorf("%v %%", p)
		}
		r.feeder.EOF()
		r.finish()
	})
}

func TestTimingSaysWhereTheTimeWent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []wire.Timing
		r := begin(t, options{
			decoders: sessiontest.Config{Cost: 4 * ms, Unit: 2}, engines: []infertest.Config{{Price: infertest.Price{Run: 30 * ms}}},
			onResult: func(tm wire.Timing) { got = append(got, tm) },
		})
		r.send("K")
		time.Sleep(100 * ms)
		r.send("-")
		time.Sleep(time.Second)
		r.upload("p-")
		r.finish()
		want := wire.Timing{Decode: wire.Millis(4 * ms), Infer: wire.Millis(30 * ms), Total: wire.Millis(34 * ms)}
		if len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("%+v, want twice %+v", got, want)
		}
	})
}

// Arrivals are remembered in bounded number: a byte may count as arrived a little
// later than it did, never earlier.
func TestArrivalOfManySmallWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, ready := time.Now(), make(chan struct{})
		var got []time.Duration
		var r *rig
		r = begin(t, options{
			inference: inference(func(context.Context, func()) (*infer.Batcher, error) { <-ready; return r.batcher, nil }),
			onResult: func(tm wire.Timing) {
				got = append(got, time.Since(begun)-time.Duration(tm.Total))
			},
		})
		for _, b := range video(2000) {
			r.send(string(b))
			time.Sleep(ms)
		}
		time.Sleep(time.Minute)
		close(ready)
		r.feeder.EOF()
		r.finish()
		for i, at := range got {
			if late := at - time.Duration(i)*ms; late < 0 || late > 100*ms {
				t.Errorf("byte %d came after %v", i, at)
			}
		}
	})
}

// Or one slow write to a disk would hold up everything that asks for all sessions.
func TestStatusDoesNotWaitForAWriteOfTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.send(video(5))
		r.feeder.Detach()
		synctest.Wait()
		release := r.HoldInput()
		if st := r.Status(); st.State != wire.Lingering || st.Received != 5 || st.Left.IsZero() {
			t.Errorf("status %+v", st)
		}
		release()
		r.finish()
	})
}

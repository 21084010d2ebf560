package infer_test

import (
	"testing"
	"testing/synctest"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

// callback is a source made of functions.
type callback struct {
	take func() (infer.Request, bool, bool)
	done func(media.FrameInfo, *infer.Result)
}

func (c *callback) Take() (infer.Request, bool, bool)       { return c.take() }
func (c *callback) Done(f media.FrameInfo, r *infer.Result) { c.done(f, r) }
func noFrame() (r infer.Request, more, ok bool)             { return }

func TestReadyTwiceIsOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		b := batcher(t, infertest.NewEngine(infertest.Config{Before: func(*infertest.Engine, int) error { <-stuck; return nil }}))
		busy := join(t, b, false)
		busy.offer(0, 1)
		synctest.Wait()
		takes := 0
		place := placed(t, b, &callback{take: func() (infer.Request, bool, bool) { takes++; return noFrame() }})
		for range 5 {
			place.Ready(1)
		}
		if n := b.Stats().Ready; n != 1 {
			t.Errorf("%d places in the list, want 1", n)
		}
		close(stuck)
		synctest.Wait()
		if takes != 1 {
			t.Errorf("taken %d times, want once", takes)
		}
		busy.leave()
		place.Leave()
		b.Close()
	})
}

// A frame that arrives between Take's look and its return must not be forgotten.
func TestReadyDuringTakeIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{}))
		var place *infer.Place
		takes := 0
		place = placed(t, b, &callback{take: func() (infer.Request, bool, bool) {
			if takes++; takes < 3 {
				place.Ready(1)
			}
			return noFrame()
		}})
		place.Ready(1)
		synctest.Wait()
		if takes != 3 {
			t.Errorf("taken %d times, want 3", takes)
		}
		place.Leave()
		b.Close()
	})
}

func TestLeaveWaitsForTakeAndIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{}), infertest.NewEngine(infertest.Config{}))
		pool, hold := new(infertest.Pool), make(chan struct{})
		takes, answered := 0, 0
		place := placed(t, b, &callback{
			take: func() (infer.Request, bool, bool) {
				takes++
				<-hold
				return infer.Request{Frame: pool.Frame(1)}, true, true
			},
			done: func(media.FrameInfo, *infer.Result) { answered++ },
		})
		place.Ready(1)
		synctest.Wait()
		left := false
		go func() { place.Leave(); left = true }()
		place.Ready(1)
		synctest.Wait()
		if left {
			t.Error("Leave returned while Take was running")
		}
		close(hold)
		synctest.Wait()
		place.Ready(1)
		synctest.Wait()
		if !left || takes != 1 || answered != 1 || pool.Live() != 0 {
			t.Errorf("left %v, %d takes, %d answered, %d frames held; want one frame taken and answered", left, takes, answered, pool.Live())
		}
		b.Close()
	})
}

package infer_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
)

// Whatever an engine gives instead of numbers, the frame fails, and only it.
func TestOutputsThatAreNotNumbersFailTheirFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: ms}, After: func(e *infertest.Engine, n int) {
			for i := range n {
				if e.Tag(i) == 2 {
					out := e.Output(1, i)
					for k := range out {
						out[k] = float32(math.NaN())
					}
				}
			}
		}}))
		s := join(t, b, false)
		s.offer(0, 5)
		after(time.Second)
		for i, a := range s.all() {
			if errors.Is(a.err, infer.ErrEngine) != (i == 2) {
				t.Errorf("frame %d: %v", i, a.err)
			}
		}
		if st := b.Stats(); len(s.all()) != 5 || st.Images != 4 || st.Failed != 1 {
			t.Errorf("%d answered, stats %+v", len(s.all()), st)
		}
		s.leave()
		b.Close()
	})
}

// short is an engine that loses rows once it is asked to.
type short struct {
	*infertest.Engine
	rows *bool
}

func (s short) Output(k, i int) []float32 {
	out := s.Engine.Output(k, i)
	if *s.rows {
		out = out[:len(out)/2]
	}
	return out
}

func TestOutputsOfAnotherShapeFailTheirFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		few := false
		b, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{short{infertest.NewEngine(infertest.Config{}), &few}}})
		if err != nil {
			t.Fatal(err)
		}
		few = true
		s := join(t, b, false)
		s.offer(0, 10)
		synctest.Wait()
		for i, a := range s.all() {
			if !errors.Is(a.err, infer.ErrEngine) || !strings.Contains(a.err.Error(), "expected") {
				t.Errorf("frame %d: %v", i, a.err)
			}
		}
		if st := b.Stats(); len(s.all()) != 10 || st.Failing != 1 {
			t.Errorf("%d answered, stats %+v", len(s.all()), st)
		}
		s.leave()
		b.Close()
	})
}

// hang makes an engine hang on frames with tag 3 until the channel is closed.
func hang(release chan struct{}) func(*infertest.Engine, int) error {
	return func(e *infertest.Engine, n int) error {
		for i := range n {
			if e.Tag(i) == 3 {
				<-release
			}
		}
		return nil
	}
}

func TestStuckEngineIsGivenUpAndReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		first := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1, Before: hang(release)})
		second := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1})
		b := batcherOf(t, infer.BatcherConfig{Reopen: func() (infer.Engine, error) { return second, nil }}, first)
		s := join(t, b, false)
		s.offer(0, 20)
		after(time.Second)
		if st := b.Stats(); len(s.all()) != 3 || st.Engines != 1 {
			t.Errorf("%d answered before anybody can know, stats %+v", len(s.all()), st)
		}
		after(10 * time.Second)
		for i, a := range s.all() {
			if errors.Is(a.err, infer.ErrEngine) != (i == 3) {
				t.Errorf("frame %d: %v", i, a.err)
			}
		}
		if st := b.Stats(); len(s.all()) != 20 || second.Runs(0) != 16 || st.Engines != 1 || st.Stuck != 0 {
			t.Errorf("%d answered, %d by the other engine, stats %+v", len(s.all()), second.Runs(0), st)
		}
		s.leave()
		if err := errors.Join(s.settled(), b.Close()); err != nil {
			t.Error(err)
		}
		if first.Closed() || !second.Closed() {
			t.Error("the engine that hangs was closed, or the other one was not")
		}
		close(release)
		after(time.Second)
		if !first.Closed() {
			t.Error("the engine that has returned was not closed")
		}
	})
}

// closing is an engine that asks its batcher something while it is closed.
type closing struct {
	*infertest.Engine
	ask func()
}

func (c closing) Close() error {
	c.ask()
	return c.Engine.Close()
}

// To close an engine of a GPU takes a while, and longer if it hangs again: the others work
// meanwhile.
func TestAnEngineThatWasReplacedIsClosedWithoutHoldingUpTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, asked := make(chan struct{}), false
		first := closing{Engine: infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1, Before: hang(release)})}
		second := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 1})
		var b *infer.Batcher
		first.ask = func() { asked = b.Stats().Engines == 1 } // it would hang here for good
		b, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{&first}, Reopen: func() (infer.Engine, error) { return second, nil }})
		if err != nil {
			t.Fatal(err)
		}
		s := join(t, b, false)
		s.offer(3, 4)
		after(2 * time.Minute)
		close(release)
		after(time.Second)
		if !asked || !first.Closed() {
			t.Errorf("asked: %v, closed: %v", asked, first.Closed())
		}
		s.leave()
		if err := errors.Join(s.settled(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestStuckEngineWorksAgainWhenItReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		e := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, Before: hang(release)})
		b := batcher(t, e)
		s := join(t, b, false)
		s.offer(0, 1)
		after(time.Second)
		s.offer(1, 20)
		after(10 * time.Second)
		if st := b.Stats(); st.Stuck != 1 || st.Engines != 0 || len(s.all()) >= 20 {
			t.Errorf("%d answered, stats %+v", len(s.all()), st)
		}
		close(release)
		after(time.Second)
		if st := b.Stats(); st.Stuck != 0 || st.Engines != 1 || len(s.all()) != 20 {
			t.Errorf("%d answered, stats %+v", len(s.all()), st)
		}
		s.leave()
		if err := errors.Join(s.settled(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseGivesUpAnEngineThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		e := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, Before: hang(release)})
		b := batcher(t, e)
		s := join(t, b, false)
		s.offer(0, 1)
		after(time.Second)
		s.offer(3, 4)
		synctest.Wait()
		start := time.Now()
		b.Close()
		if took := time.Since(start); took > 6*time.Second || s.all()[3].err == nil {
			t.Errorf("closed after %v, frame 3: %v", took, s.all()[3].err)
		}
		s.leave()
		close(release)
		after(time.Second)
		if !e.Closed() {
			t.Error("the engine that has returned was not closed")
		}
	})
}

func TestAbsurdClientsAndSharesAreRefused(t *testing.T) {
	b := batcher(t, infertest.NewEngine(infertest.Config{}))
	defer b.Close()
	nan := math.NaN()
	for _, c := range []infer.Client{{Class: 9}, {Weight: -1}, {Weight: 1e9}, {Weight: nan}, {Budget: -time.Second}} {
		if _, err := b.Join(&callback{}, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	for _, s := range []infer.Shares{{-1}, {1, nan}, {1, 1, 1e6}} {
		if _, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}, Shares: s}); err == nil {
			t.Errorf("%v was accepted", s)
		}
	}
}

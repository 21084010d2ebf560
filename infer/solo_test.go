package infer_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
)

// two cores: an engine of one thread takes 23 ms, one of two threads 13.
var (
	oneCore  = infertest.Config{Price: infertest.Price{Image: 23 * ms}, MaxBatch: 1}
	allCores = infertest.Config{Price: infertest.Price{Image: 13 * ms}, MaxBatch: 1}
)

// soloists opens engines for frames that are alone and keeps them.
type soloists struct {
	config infertest.Config
	all    []*infertest.Engine
}

func (s *soloists) open() (infer.Engine, error) {
	time.Sleep(300 * ms)
	s.all = append(s.all, infertest.NewEngine(s.config))
	return s.all[len(s.all)-1], nil
}

// took offers a frame and says how long its answer took.
func (s *source) took(frame int64) time.Duration {
	start := time.Now()
	s.offer(frame, frame+1)
	after(time.Second)
	return s.all()[frame].at.Sub(start)
}

// soloAfter is how many batches must have been alone, one after the other.
const soloAfter = 8

// calm gives a batcher that many, so that the next frame gets all processors if it is
// alone, too.
func calm(t *testing.T, b *infer.Batcher) {
	t.Helper()
	s := join(t, b, true)
	for i := range int64(soloAfter) {
		if d := s.took(i); d != 23*ms {
			t.Errorf("frame %d took %v", i, d)
		}
	}
	s.leave()
}

func TestFrameThatIsAloneHasAllProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		solo := soloists{config: allCores}
		b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, infertest.NewEngine(oneCore), infertest.NewEngine(oneCore))
		file := join(t, b, false)
		if d := file.took(0); d != 23*ms || len(solo.all) != 0 {
			t.Errorf("a frame of a file took %v, %d solo engines", d, len(solo.all))
		}
		calm(t, b)
		live := join(t, b, true)
		if d := live.took(0); d != 23*ms || len(solo.all) != 1 {
			t.Errorf("the first one took %v, %d solo engines are open", d, len(solo.all))
		}
		if d := live.took(1); d != 13*ms {
			t.Errorf("the second one took %v", d)
		}
		if st := b.Stats(); st.Solo != 1 || st.Engines != 2 || st.Rate < 86 || st.Rate > 88 {
			t.Errorf("stats %+v", st)
		}
		live.offer(2, 3) // alone
		time.Sleep(5 * ms)
		file.offer(1, 3) // with company
		after(time.Second)
		if st := b.Stats(); st.Solo != 2 || st.Images != soloAfter+6 {
			t.Errorf("stats %+v", st)
		}
		if d := live.took(3); d != 23*ms {
			t.Errorf("where there was company just now one took %v", d)
		}
		for _, s := range []*source{file, live} {
			s.leave()
			if err := s.settled(); err != nil {
				t.Error(err)
			}
		}
		if b.Close(); !solo.all[0].Closed() {
			t.Error("the solo engine was not closed")
		}
	})
}

// Results must not depend on what else there is to do.
func TestSoloEngineThatGivesOtherResultsIsNotUsed(t *testing.T) {
	for _, c := range []infertest.Config{
		{MaxBatch: 1, Precision: "fp16"},
		{MaxBatch: 1, After: func(e *infertest.Engine, _ int) { e.Output(1, 0)[7] += 1e-5 }},
		{MaxBatch: 1, Before: func(*infertest.Engine, int) error { return errors.New("no memory") }},
	} {
		synctest.Test(t, func(t *testing.T) {
			solo := soloists{config: c}
			b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, infertest.NewEngine(oneCore))
			calm(t, b)
			s := join(t, b, true)
			for i := range int64(3) {
				s.took(i)
			}
			if st := b.Stats(); st.Solo != 0 || st.Images != soloAfter+3 || len(solo.all) != 1 || !solo.all[0].Closed() {
				t.Errorf("stats %+v, %d opened", st, len(solo.all))
			}
			s.leave()
			b.Close()
		})
	}
}

// Engines of other Batchers use the same processors: of a version that a file keeps, say.
func TestFrameIsNotAloneWhileAnotherBatcherHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		solo, shared := soloists{config: allCores}, new(infer.Machine)
		other := batcherOf(t, infer.BatcherConfig{Machine: shared}, infertest.NewEngine(oneCore))
		b := batcherOf(t, infer.BatcherConfig{Machine: shared, Solo: solo.open}, infertest.NewEngine(oneCore))
		file, live := join(t, other, false), join(t, b, true)
		for i := range int64(soloAfter + 2) {
			file.offer(i, i+1)
			time.Sleep(5 * ms)
			live.offer(i, i+1)
			after(time.Second)
		}
		if len(solo.all) != 0 {
			t.Errorf("%d solo engines were opened", len(solo.all))
		}
		for i := range int64(soloAfter + 2) {
			live.took(soloAfter + 2 + i)
		}
		if st := b.Stats(); st.Solo != 1 || len(solo.all) != 1 {
			t.Errorf("then %d frames of %d solo engines", st.Solo, len(solo.all))
		}
		file.leave()
		live.leave()
		if err := errors.Join(file.settled(), live.settled(), b.Close(), other.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestErrorOfTheSoloEngineCostsNoResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		solo := soloists{config: allCores}
		solo.config.Before = func(e *infertest.Engine, _ int) error {
			if e.Tag(0) == 2 {
				return errors.New("no thread")
			}
			return nil
		}
		b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, infertest.NewEngine(oneCore))
		calm(t, b)
		s := join(t, b, true)
		for i := range int64(4) {
			s.took(i)
		}
		for i, a := range s.all() {
			if a.err != nil {
				t.Errorf("frame %d: %v", i, a.err)
			}
		}
		if st := b.Stats(); st.Solo != 2 || st.Images != soloAfter+4 || st.Failing != 0 {
			t.Errorf("stats %+v", st)
		}
		s.leave()
		b.Close()
	})
}

func TestSoloEngineThatHangsIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, own := make(chan struct{}), infertest.NewEngine(oneCore)
		solo := soloists{config: allCores}
		solo.config.Before = hang(release)
		b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, own)
		calm(t, b)
		s := join(t, b, true)
		for i := range int64(4) {
			s.took(i) // frame 3 hangs
		}
		after(10 * time.Second)
		if a := s.all()[3]; !errors.Is(a.err, infer.ErrEngine) {
			t.Errorf("the frame that hung: %v", a.err)
		}
		if st := b.Stats(); st.Engines != 1 || st.Stuck != 0 {
			t.Errorf("stats %+v", st)
		}
		if first, second := s.took(4), s.took(5); first != 23*ms || second != 13*ms || len(solo.all) != 2 {
			t.Errorf("then %v and %v, %d opened", first, second, len(solo.all))
		}
		s.leave()
		if err := errors.Join(s.settled(), b.Close()); err != nil {
			t.Error(err)
		}
		close(release)
		after(time.Second)
		if !own.Closed() || !solo.all[0].Closed() || !solo.all[1].Closed() {
			t.Error("an engine was not closed")
		}
	})
}

func TestCloseWhileTheSoloEngineHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, own := make(chan struct{}), infertest.NewEngine(oneCore)
		solo := soloists{config: allCores}
		solo.config.Before = hang(release)
		b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, own)
		calm(t, b)
		s := join(t, b, true)
		s.took(0)
		s.offer(3, 4)
		synctest.Wait()
		if start := time.Now(); b.Close() != nil || time.Since(start) > 6*time.Second || s.all()[3].err == nil {
			t.Errorf("closed after %v, frame 3: %v", time.Since(start), s.all()[3].err)
		}
		s.leave()
		close(release)
		after(time.Second)
		if !own.Closed() || !solo.all[0].Closed() {
			t.Error("an engine that has returned was not closed")
		}
	})
}

func TestCloseWhileTheSoloEngineIsOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		solo := soloists{config: allCores}
		b := batcherOf(t, infer.BatcherConfig{Solo: solo.open}, infertest.NewEngine(oneCore))
		calm(t, b)
		s := join(t, b, true)
		s.offer(0, 1)
		after(100 * ms)
		s.leave()
		if b.Close(); len(solo.all) != 1 || !solo.all[0].Closed() {
			t.Error("the solo engine was left open")
		}
	})
}

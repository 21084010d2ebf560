package infer_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

const ms = time.Millisecond

// after lets time pass in a bubble, and everybody do what is due.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestNewestLiveFrameIsTakenWhenTheBatchStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 100 * ms}}))
		s := join(t, b, true)
		s.offer(0, 1) // keeps the engine busy for 100 ms
		for i := int64(1); i <= 9; i++ {
			time.Sleep(10 * ms)
			s.offer(i, i+1)
		}
		after(time.Second)
		if _, ok := s.answered[9]; len(s.answered) != 2 || !ok {
			t.Errorf("answered %v, want frames 0 and 9", s.answered)
		}
		s.leave()
		b.Close()
		if err := s.settled(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoneFileKeepsAllRunnersBusy(t *testing.T) {
	for _, size := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			var engines []*infertest.Engine
			for range 3 {
				engines = append(engines, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 2 * ms, Image: 8 * ms}, MaxBatch: size}))
			}
			b := batcher(t, engines...)
			s := join(t, b, false)
			start := time.Now()
			s.offer(0, 300)
			for b.Stats().Images < 300 {
				time.Sleep(ms)
			}
			took := time.Since(start)
			for i, e := range engines {
				if e.Busy() < took*9/10 {
					t.Errorf("batches of %d: engine %d was busy for %v of %v", size, i, e.Busy(), took)
				}
			}
			s.leave()
			b.Close()
		})
	}
}

// A place is taken once per turn, so nine sessions share a batch although one of
// them has a huge backlog.
func TestBacklogDelaysAnotherByOneBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const run = 40 * ms
		b := batcher(t, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: run}, MaxBatch: 4}))
		greedy, polite := join(t, b, false), join(t, b, true)
		greedy.offer(0, 1000)
		time.Sleep(10*run + 15*ms)
		asked := time.Now()
		polite.offer(7, 8)
		after(10 * run)
		if delay := polite.answered[7].at.Sub(asked); delay > 2*run {
			t.Errorf("answered after %v: more than the batch in flight and its own", delay)
		}
		greedy.leave()
		polite.leave()
		b.Close()
	})
}

func TestBacklogsGetEqualShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 2}))
		var files []*source
		for range 3 {
			s := join(t, b, false)
			s.offer(0, 500)
			files = append(files, s)
		}
		after(time.Second) // 100 batches, 200 images
		for i, s := range files {
			if n := len(s.answered); n < 64 || n > 69 {
				t.Errorf("file %d got %d images of 200, want a third", i, n)
			}
			s.leave()
		}
		b.Close()
	})
}

// Where there is always more than an engine takes at once, it is learned all the same
// whether it should take so much.
func TestABacklogIsDoneInBatchesThatPay(t *testing.T) {
	for name, c := range map[string]struct {
		price  infertest.Price
		batch  int
		others int // runs with other batches until that is known, and now and then to see whether it still holds
	}{
		"they gain nothing": {infertest.Price{Image: 10 * ms}, 1, 2},
		"they gain a lot":   {infertest.Price{Run: 10 * ms, Image: ms}, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := infertest.NewEngine(infertest.Config{Price: c.price, MaxBatch: 4})
				b := batcher(t, e)
				s := join(t, b, false)
				s.offer(0, 400)
				after(time.Second)
				if all, right := e.Runs(0), e.Runs(c.batch); right < 60 || all-right > c.others {
					t.Errorf("%d runs, %d of them with %d images", all, right, c.batch)
				}
				s.leave()
				b.Close()
			})
		})
	}
}

// Three frames and three idle engines: nobody takes two.
func TestIdleRunnersShareAShortBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var engines []*infertest.Engine
		for range 3 {
			engines = append(engines, infertest.NewEngine(infertest.Config{Price: infertest.Price{Image: 10 * ms}}))
		}
		b := batcher(t, engines...)
		s := join(t, b, false)
		synctest.Wait()
		s.offer(0, 3)
		after(10 * ms)
		if len(s.answered) != 3 {
			t.Errorf("%d of 3 frames answered after the time of one", len(s.answered))
		}
		s.leave()
		b.Close()
	})
}

func TestReadySessionsShareABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}})
		b := batcher(t, e)
		first := join(t, b, true)
		first.offer(0, 1)
		synctest.Wait() // the engine runs; what becomes ready now gathers
		var sessions []*source
		for i := range int64(8) {
			s := join(t, b, true)
			s.offer(i, i+1)
			sessions = append(sessions, s)
		}
		after(time.Second)
		for i, s := range sessions {
			if got := s.answered[int64(i)].batch; got != 8 {
				t.Errorf("session %d was in a batch of %d, want 8", i, got)
			}
			s.leave()
		}
		first.leave()
		b.Close()
	})
}

// Sessions come and go at random moments; nothing is lost, doubled or leaked.
// Run with -race.
func TestEveryTakenFrameIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		price := infertest.Price{Run: 3 * ms, Image: ms}
		fail := poisonous(func(tag int64) bool { return tag%17 == 0 })
		b := batcher(t,
			infertest.NewEngine(infertest.Config{Price: price, Before: fail}),
			infertest.NewEngine(infertest.Config{Price: price, Before: fail, MaxBatch: 3}))
		var all sync.WaitGroup
		for n := range 40 {
			all.Go(func() { visit(t, b, rand.New(rand.NewPCG(1, uint64(n)))) })
		}
		all.Wait()
		if s := b.Stats(); s.Ready != 0 || s.Images == 0 || s.Failed == 0 {
			t.Errorf("stats at the end: %+v", s)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// visit is one session that offers frames for a while, leaves at a random moment,
// and waits for what was taken.
func visit(t *testing.T, b *infer.Batcher, random *rand.Rand) {
	s := join(t, b, random.IntN(2) == 0)
	for i, n := int64(0), random.Int64N(60); i < n; {
		more := 1 + random.Int64N(4)
		s.offer(i, i+more)
		i += more
		if random.IntN(3) > 0 {
			time.Sleep(time.Duration(random.IntN(int(8 * ms))))
		}
	}
	s.leave()
	s.place.Ready(1) // too late: nothing happens
	after(time.Minute)
	if err := s.settled(); err != nil {
		t.Error(err)
	}
	for i, a := range s.answered {
		if bad := i%17 == 0; bad != (a.err != nil) {
			t.Errorf("frame %d: err %v", i, a.err)
		}
	}
}

var errPoison = errors.New("poison")

// poisonous fails every run that has a bad image in it.
func poisonous(bad func(tag int64) bool) func(*infertest.Engine, int) error {
	return func(e *infertest.Engine, n int) error {
		for i := range n {
			if bad(e.Tag(i)) {
				return errPoison
			}
		}
		return nil
	}
}

func TestOnlyThePoisonousFrameOfABatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := infertest.NewEngine(infertest.Config{
			Price: infertest.Price{Run: ms}, Before: poisonous(func(tag int64) bool { return tag == 3 }),
		})
		var runs []infer.Run
		b := batcherOf(t, infer.BatcherConfig{OnRun: func(r infer.Run) { runs = append(runs, r) }}, e)
		s := join(t, b, false)
		s.offer(0, 6)
		after(time.Second)
		for i, a := range s.answered {
			if i == 3 {
				if !errors.Is(a.err, infer.ErrEngine) || !errors.Is(a.err, errPoison) {
					t.Errorf("frame 3: err %v, want ErrEngine with its cause", a.err)
				}
			} else if a.err != nil {
				t.Errorf("frame %d: %v", i, a.err)
			}
		}
		if len(s.answered) != 6 || len(runs) != 7 || runs[0].Images != 6 || runs[0].Err == nil {
			t.Errorf("%d frames answered in runs %+v, want 6 in one failed run and six single ones", len(s.answered), runs)
		}
		s.leave()
		b.Close()
	})
}

func TestCloseAnswersWhatIsInFlightAndTakesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 50 * ms}, MaxBatch: 2})
		b := batcher(t, e)
		s := join(t, b, false)
		s.offer(0, 5)
		time.Sleep(10 * ms)
		start := time.Now()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 40*ms || !e.Closed() {
			t.Errorf("closed after %v (engine closed: %v), want 40 ms", took, e.Closed())
		}
		s.offer(5, 6)
		synctest.Wait()
		if len(s.answered) != 2 || len(s.waiting) != 4 {
			t.Errorf("%d answered and %d left, want 2 and 4", len(s.answered), len(s.waiting))
		}
		s.leave()
		if err := errors.Join(s.settled(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestFrameOfTheWrongSizeFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: ms}}))
		s := join(t, b, false)
		small := infertest.Model().Input.View()
		small.Height--
		s.waiting = append(s.waiting, s.pool.Picture(media.FrameInfo{Index: 1, Width: 8, Height: 8}, small, make([]byte, small.Size())))
		none := s.pool.Picture(media.FrameInfo{Index: 2, Width: 8, Height: 8}, small, nil)
		none.Views = nil
		s.waiting = append(s.waiting, none)
		s.offer(3, 5)
		after(time.Second)
		for i := int64(1); i < 5; i++ {
			if a, ok := s.answered[i]; !ok || errors.Is(a.err, infer.ErrView) != (i < 3) {
				t.Errorf("frame %d: answered %v, err %v", i, ok, a.err)
			}
		}
		s.leave()
		b.Close()
		if err := s.settled(); err != nil {
			t.Error(err)
		}
	})
}

func TestClassFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := batcher(t, infertest.NewEngine(infertest.Config{}))
		found := make(map[int64]int)
		s := &callback{done: func(f media.FrameInfo, r *infer.Result) { found[f.Index] = len(r.Detections) }}
		pool := new(infertest.Pool)
		s.take = func() (infer.Request, bool, bool) {
			i := int64(len(found))
			return infer.Request{Frame: pool.Frame(i), Detect: &infer.Detect{Threshold: 0.5, IoU: 0.5, Classes: map[int]bool{1: true}}}, false, true
		}
		place := placed(t, b, s)
		for range 3 { // frame i shows class i
			place.Ready(1)
			synctest.Wait()
		}
		if found[0] != 0 || found[1] != 1 || found[2] != 0 {
			t.Errorf("found %v, want class 1 only", found)
		}
		place.Leave()
		b.Close()
	})
}

func TestEnginesOfDifferentModelsAreRefused(t *testing.T) {
	other := *infertest.Model()
	other.SHA256 = strings.Repeat("0", 64)
	_, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{
		infertest.NewEngine(infertest.Config{}), remodelled{infertest.NewEngine(infertest.Config{}), &other},
	}})
	if err == nil {
		t.Error("accepted")
	}
}

type remodelled struct {
	infer.Engine
	model *infer.Model
}

func (r remodelled) Model() *infer.Model { return r.model }

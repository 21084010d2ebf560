package infer_test

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

// source is a session as the batcher sees it: a file with a backlog of frames
// (live false) or a live feed whose newest frame wins.
type source struct {
	t     *testing.T
	pool  *infertest.Pool
	place *infer.Place
	live  bool

	mu       sync.Mutex
	waiting  []*media.Frame
	detect   *infer.Detect
	taken    map[int64]bool // not answered yet
	answered map[int64]answer
	left     bool
}

type answer struct {
	at    time.Time
	err   error
	batch int
}

func join(t *testing.T, b *infer.Batcher, live bool) *source {
	s := &source{t: t, pool: new(infertest.Pool), live: live, taken: map[int64]bool{}, answered: map[int64]answer{}}
	class := infer.File
	if live {
		class = infer.Live
	}
	s.place = placedAs(t, b, s, infer.Client{Class: class})
	return s
}

// placed joins a source.
func placed(t testing.TB, b *infer.Batcher, s infer.Source) *infer.Place {
	t.Helper()
	return placedAs(t, b, s, infer.Client{})
}

func placedAs(t testing.TB, b *infer.Batcher, s infer.Source, c infer.Client) *infer.Place {
	t.Helper()
	p, err := b.Join(s, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// offer makes frames from..to-1 available and says so.
func (s *source) offer(from, to int64) {
	s.mu.Lock()
	for i := from; i < to; i++ {
		if s.live {
			for _, old := range s.waiting {
				old.Release()
			}
			s.waiting = nil
		}
		s.waiting = append(s.waiting, s.pool.Frame(i))
	}
	n := len(s.waiting)
	s.mu.Unlock()
	s.place.Ready(n)
}

func (s *source) Take() (infer.Request, bool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left {
		s.t.Error("Take after Leave has returned")
	}
	if len(s.waiting) == 0 {
		return infer.Request{}, false, false
	}
	f := s.waiting[0]
	s.waiting = s.waiting[1:]
	s.taken[f.Index] = true
	return infer.Request{Frame: f, Detect: s.detect}, len(s.waiting) > 0, true
}

func (s *source) Done(f media.FrameInfo, r *infer.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken[f.Index] {
		s.t.Errorf("frame %d answered without being taken, or twice", f.Index)
	}
	delete(s.taken, f.Index)
	s.answered[f.Index] = answer{r.Finished, r.Err, r.Batch}
	if r.Err == nil {
		if err := infertest.Check(f, r); err != nil {
			s.t.Error(err)
		}
	}
}

// all are the answers so far.
func (s *source) all() map[int64]answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.answered)
}

// leave leaves and releases what nobody took.
func (s *source) leave() {
	s.place.Leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = true
	for _, f := range s.waiting {
		f.Release()
	}
	s.waiting = nil
}

// settled says what is not as it must be once everything has been answered.
func (s *source) settled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.taken) > 0 || s.pool.Live() > 0 {
		return fmt.Errorf("%d taken frames unanswered, %d frames not released", len(s.taken), s.pool.Live())
	}
	return nil
}

func batcher(t *testing.T, engines ...*infertest.Engine) *infer.Batcher {
	return batcherOf(t, infer.BatcherConfig{}, engines...)
}

func batcherOf(t *testing.T, c infer.BatcherConfig, engines ...*infertest.Engine) *infer.Batcher {
	t.Helper()
	for _, e := range engines {
		c.Engines = append(c.Engines, e)
	}
	b, err := infer.NewBatcher(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

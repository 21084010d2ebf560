package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source that does as it is told, turn by turn; the last goes on for ever.
type script struct {
	turns []turn
	last  *File

	mu    sync.Mutex
	times []time.Time
	have  []string
}

func (s *script) String() string { return "script" }

func (s *script) Fetch(_ context.Context, have string, progress func(Progress)) (File, error) {
	s.mu.Lock()
	turn := s.turns[min(len(s.times), len(s.turns)-1)]
	s.times, s.have = append(s.times, time.Now()), append(s.have, have)
	s.mu.Unlock()
	return turn(have, progress)
}

// asked tells when it was asked, and what was there.
func (s *script) asked() (times []time.Time, have []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.times), slices.Clone(s.have)
}

func (s *script) Last() (File, error) {
	if s.last == nil {
		return File{}, fs.ErrNotExist
	}
	return *s.last, nil
}

type turn = func(string, func(Progress)) (File, error)

func gives(sum string) turn {
	return func(have string, _ func(Progress)) (File, error) {
		if have == sum {
			return File{}, ErrSame
		}
		return File{Name: "people", Version: "v-" + sum, SHA256: sum}, nil
	}
}

func fails(r Reason, after time.Duration) turn {
	return func(string, func(Progress)) (File, error) {
		return File{}, &Error{Source: "script", Reason: r, Err: errors.New("some cause"), After: after}
	}
}

// watching is a Watcher under test, with all that it told.
type watching struct {
	*Watcher
	stop func()

	mu     sync.Mutex
	states []State
	files  []string
}

// handed are the files that were handed on.
func (w *watching) handed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.files)
}

func watch(c WatchConfig, refuse ...string) *watching {
	w := &watching{}
	c.State = func(s State) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.states = append(w.states, s)
	}
	c.File = func(_ context.Context, f File) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.files = append(w.files, f.SHA256)
		if slices.Contains(refuse, f.SHA256) {
			return fmt.Errorf("%s has no head", f.SHA256)
		}
		return nil
	}
	w.Watcher = NewWatcher(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	return w
}

// pass lets time pass, and everybody do what is to be done by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAFailureIsTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: slices.Concat(slices.Repeat([]turn{fails(Unreachable, 0)}, 10), []turn{gives("a")})}
		w := watch(WatchConfig{Source: s, Poll: 10 * time.Second})
		defer w.stop()
		pass(5 * time.Second)
		if st := w.State(); st.Phase != Failed || st.Err.Reason != Unreachable || st.Failures < 3 || !st.Next.After(time.Now()) {
			t.Errorf("meanwhile it tells %+v", st)
		}
		pass(10 * time.Minute)
		times, _ := s.asked()
		for i := 1; i <= 10; i++ {
			most := min(maxRetry, firstRetry<<(i-1))
			if d := times[i].Sub(times[i-1]); d < most/2 || d > most {
				t.Errorf("wait %d is %v, expected %v to %v", i, d, most/2, most)
			}
		}
		if st := w.State(); st.Phase != Current || st.Err != nil || st.Failures != 0 || st.Version != "v-a" || st.Checked.IsZero() {
			t.Errorf("at the end it tells %+v", st)
		}
		if !slices.Equal(w.handed(), []string{"a"}) {
			t.Errorf("it hands on %q", w.handed())
		}
	})
}

func TestASourceIsLeftAloneAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{fails(Unavailable, 5*time.Minute), gives("a")}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		pass(time.Hour)
		times, _ := s.asked()
		if len(times) != 2 || times[1].Sub(times[0]) != 5*time.Minute {
			t.Errorf("it is asked at %v", times)
		}
	})
}

func TestADownloadThatGetsOnInPiecesIsNotLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := int64(0)
		s := &script{turns: []turn{func(_ string, progress func(Progress)) (File, error) {
			n++
			progress(Progress{Done: 10 * n, Total: 1000})
			return fails(Truncated, 0)("", nil)
		}}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		pass(10 * time.Second)
		times, _ := s.asked()
		if len(times) < 10 {
			t.Errorf("%d attempts in 10 s", len(times))
		}
	})
}

func TestNewerVersionsAreLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{gives("a"), gives("a"), gives("b"), fails(Denied, 0), gives("b")}}
		w := watch(WatchConfig{Source: s, Poll: 10 * time.Second})
		defer w.stop()
		pass(35 * time.Second)
		_, have := s.asked()
		if !slices.Equal(w.handed(), []string{"a", "b"}) || !slices.Equal(have[:4], []string{"", "a", "a", "b"}) {
			t.Errorf("it hands on %q, having %q", w.handed(), have)
		}
		if st := w.State(); st.Err != nil || st.Version != "v-b" {
			t.Errorf("it tells %+v", st)
		}
	})
}

func TestAVersionThatCannotBeUsedIsSaidAndNotOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{gives("a"), gives("bad"), gives("bad"), fails(Slow, 0), gives("bad"), gives("bad"), gives("c")}}
		w := watch(WatchConfig{Source: s, Poll: 10 * time.Second}, "bad")
		defer w.stop()
		pass(45 * time.Second)
		st := w.State()
		if st.Phase != Failed || st.Err == nil || st.Err.Reason != Refused || st.Err.Error() != "model from script: bad has no head" || st.Version != "v-a" {
			t.Errorf("it tells %+v", st)
		}
		pass(time.Minute)
		if st := w.State(); st.Phase != Current || st.Err != nil || !slices.Equal(w.handed(), []string{"a", "bad", "c"}) {
			t.Errorf("then %q, %+v", w.handed(), st)
		}
	})
}

func TestTheLastGoodVersionComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{fails(Unreachable, 0), gives("b")}, last: &File{SHA256: "a"}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		synctest.Wait()
		times, have := s.asked()
		if st := w.State(); len(times) != 1 || st.SHA256 != "a" || st.Err.Reason != Unreachable || !slices.Equal(have, []string{"a"}) {
			t.Errorf("without a service it tells %+v", st)
		}
		pass(time.Hour)
		times, _ = s.asked()
		if !slices.Equal(w.handed(), []string{"a", "b"}) || len(times) != 2 {
			t.Errorf("it hands on %q", w.handed())
		}
	})
}

func TestItCanBeAskedToLookNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{gives("a")}}
		w := watch(WatchConfig{Source: s}) // never by itself
		defer w.stop()
		pass(time.Hour)
		w.Check(false)
		synctest.Wait()
		w.Check(true)
		w.Check(false)
		synctest.Wait()
		times, _ := s.asked()
		if !slices.Equal(w.handed(), []string{"a", "a"}) || len(times) < 3 {
			t.Errorf("it hands on %q, asked %d times", w.handed(), len(times))
		}
	})
}

func TestProgressIsToldButNotTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{func(_ string, progress func(Progress)) (File, error) {
			for i := range int64(1001) {
				progress(Progress{Done: i, Total: 1000})
				time.Sleep(time.Millisecond)
			}
			return gives("a")("", nil)
		}}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		pass(time.Minute)
		var percent []float64
		for _, st := range w.states {
			if st.Phase == Downloading && st.Progress.Total > 0 {
				percent = append(percent, st.Progress.Percent())
			}
		}
		if len(percent) < 4 || len(percent) > 9 || !slices.Contains(percent, 100) {
			t.Errorf("it tells %v", percent)
		}
	})
}

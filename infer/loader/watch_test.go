package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source that does as it is told, turn by turn; the last goes on for ever.
type script struct {
	turns []func(have string, progress func(Progress)) (File, error)
	times []time.Time
	have  []string
	last  *File
}

func (s *script) String() string { return "script" }

func (s *script) Fetch(_ context.Context, have string, progress func(Progress)) (File, error) {
	turn := s.turns[min(len(s.times), len(s.turns)-1)]
	s.times, s.have = append(s.times, time.Now()), append(s.have, have)
	return turn(have, progress)
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
	states []State
	files  []string
	stop   func()
}

func watch(c WatchConfig, refuse ...string) *watching {
	w := &watching{}
	c.State = func(s State) { w.states = append(w.states, s) }
	c.File = func(_ context.Context, f File) error {
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

func TestAFailureIsTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: slices.Concat(slices.Repeat([]turn{fails(Unreachable, 0)}, 10), []turn{gives("a")})}
		w := watch(WatchConfig{Source: s, Poll: 10 * time.Second})
		defer w.stop()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if st := w.State(); st.Phase != Failed || st.Err.Reason != Unreachable || st.Failures < 3 || !st.Next.After(time.Now()) {
			t.Errorf("meanwhile it tells %+v", st)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := 1; i <= 10; i++ {
			most := min(maxRetry, firstRetry<<(i-1))
			if d := s.times[i].Sub(s.times[i-1]); d < most/2 || d > most {
				t.Errorf("wait %d is %v, expected %v to %v", i, d, most/2, most)
			}
		}
		if st := w.State(); st.Phase != Current || st.Err != nil || st.Failures != 0 || st.Version != "v-a" || st.Checked.IsZero() {
			t.Errorf("at the end it tells %+v", st)
		}
		if !slices.Equal(w.files, []string{"a"}) {
			t.Errorf("it hands on %q", w.files)
		}
	})
}

func TestASourceIsLeftAloneAsLongAsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{fails(Unavailable, 5*time.Minute), gives("a")}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		time.Sleep(time.Hour)
		if len(s.times) != 2 || s.times[1].Sub(s.times[0]) != 5*time.Minute {
			t.Errorf("it is asked at %v", s.times)
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
		time.Sleep(10 * time.Second)
		if len(s.times) < 10 {
			t.Errorf("%d attempts in 10 s", len(s.times))
		}
	})
}

func TestNewerVersionsAreLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{gives("a"), gives("a"), gives("b"), fails(Denied, 0), gives("b")}}
		w := watch(WatchConfig{Source: s, Poll: 10 * time.Second})
		defer w.stop()
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if !slices.Equal(w.files, []string{"a", "b"}) || !slices.Equal(s.have[:4], []string{"", "a", "a", "b"}) {
			t.Errorf("it hands on %q, having %q", w.files, s.have)
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
		time.Sleep(45 * time.Second)
		synctest.Wait()
		st := w.State()
		if st.Phase != Failed || st.Err == nil || st.Err.Reason != Refused || st.Err.Error() != "model from script: bad has no head" || st.Version != "v-a" {
			t.Errorf("it tells %+v", st)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st := w.State(); st.Phase != Current || st.Err != nil || !slices.Equal(w.files, []string{"a", "bad", "c"}) {
			t.Errorf("then %q, %+v", w.files, st)
		}
	})
}

func TestTheLastGoodVersionComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{fails(Unreachable, 0), gives("b")}, last: &File{SHA256: "a"}}
		w := watch(WatchConfig{Source: s})
		defer w.stop()
		synctest.Wait()
		if st := w.State(); st.SHA256 != "a" || st.Err.Reason != Unreachable || !slices.Equal(s.have, []string{"a"}) {
			t.Errorf("without a service it tells %+v", st)
		}
		time.Sleep(time.Hour)
		if !slices.Equal(w.files, []string{"a", "b"}) || len(s.times) != 2 {
			t.Errorf("it hands on %q", w.files)
		}
	})
}

func TestItCanBeAskedToLookNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{turns: []turn{gives("a")}}
		w := watch(WatchConfig{Source: s}) // never by itself
		defer w.stop()
		time.Sleep(time.Hour)
		w.Check(false)
		synctest.Wait()
		w.Check(true)
		w.Check(false)
		synctest.Wait()
		if !slices.Equal(w.files, []string{"a", "a"}) || len(s.times) < 3 {
			t.Errorf("it hands on %q, asked %d times", w.files, len(s.times))
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
		time.Sleep(time.Minute)
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

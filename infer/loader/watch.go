package loader

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Phase is what a Watcher is doing.
type Phase string

// The phases.
const (
	Checking    Phase = "checking"    // asks the source; nothing has come yet
	Downloading Phase = "downloading" // a new version is coming
	Current     Phase = "current"     // the newest version was handed on
	Failed      Phase = "failed"      // the last attempt failed; State.Next says when it is tried again
)

// State is what a Watcher tells.
type State struct {
	Source   string
	Phase    Phase
	Progress Progress // while Downloading
	// Err is why the last attempt failed; nil: it did not. It stays while the next one
	// is under way.
	Err      *Error
	Failures int // attempts in a row that failed and brought no bytes
	// Name, Version and SHA256 are of the file that was handed on last and could be
	// used; empty: none was.
	Name, Version, SHA256 string
	Checked               time.Time // when the source last answered; zero: never
	Next                  time.Time // when it is asked again; zero: now, or never
}

// WatchConfig says what a Watcher does. Zero values take the defaults.
type WatchConfig struct {
	Source Source
	// Poll is how often the source is asked for something newer; 0: never, once it has
	// given a model.
	Poll time.Duration
	// File gets each new version. The source is not asked again before it returns. An
	// error says that the version cannot be used: it is kept as State.Err (Refused), and
	// the version is not offered again.
	File func(ctx context.Context, f File) error
	// State is told each change; it must not block. Default: nobody is told.
	State func(State)
}

// The waits between attempts: exponential, of which a random half is waited for.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
	maxAfter   = 10 * time.Minute // that a source can ask for
)

// tellEvery is how often progress is told.
const tellEvery = 200 * time.Millisecond

// Watcher follows a source: it fetches the model, hands it on, and looks for newer
// versions; a failure is tried again with exponential waits.
type Watcher struct {
	c   WatchConfig
	ask chan bool // true: whatever is there; room for one

	mu    sync.Mutex
	state State

	// Owned by Run.
	have     string // key of what was handed on
	refused  *Error // why it cannot be used; nil: it can
	attempts int    // in a row that failed and brought no bytes
	best     int64  // bytes that were there after one of them
	told     time.Time
}

// NewWatcher makes a Watcher.
func NewWatcher(c WatchConfig) *Watcher {
	if c.State == nil {
		c.State = func(State) {}
	}
	return &Watcher{c: c, ask: make(chan bool, 1), state: State{Source: c.Source.String(), Phase: Checking}}
}

// State is what was told last.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Check asks the source now instead of later. again hands its model on even if it is
// the one that was handed on last.
func (w *Watcher) Check(again bool) {
	for {
		select {
		case w.ask <- again:
			return
		case before := <-w.ask: // it is replaced by one that asks for both
			again = again || before
		}
	}
}

// Run follows the source until ctx ends. What a [Keeper] has is handed on before it is
// asked for anything newer, so that a start does not depend on a service.
func (w *Watcher) Run(ctx context.Context) {
	if k, ok := w.c.Source.(Keeper); ok {
		if f, err := k.Last(); err == nil {
			w.hand(ctx, f, time.Time{})
		}
	}
	for ctx.Err() == nil {
		w.attempt(ctx)
		w.wait(ctx)
	}
}

// set changes the state and tells it.
func (w *Watcher) set(change func(*State)) {
	w.mu.Lock()
	change(&w.state)
	s := w.state
	w.mu.Unlock()
	w.c.State(s)
}

// attempt asks the source once.
func (w *Watcher) attempt(ctx context.Context) {
	w.set(func(s *State) { s.Next = time.Time{} })
	var done int64
	f, err := w.c.Source.Fetch(ctx, w.have, func(p Progress) {
		done = p.Done
		w.progress(p)
	})
	now := time.Now()
	switch {
	case err == nil:
		w.best, w.attempts = 0, 0
		w.hand(ctx, f, now)
	case errors.Is(err, ErrSame):
		w.best, w.attempts = 0, 0
		w.set(func(s *State) {
			s.Phase, s.Err, s.Checked, s.Failures = Current, w.refused, now, 0
			if w.refused != nil {
				s.Phase = Failed
			}
		})
	case ctx.Err() != nil:
	default:
		if w.attempts++; done > w.best {
			w.attempts, w.best = 1, done // it gets on, if in pieces
		}
		w.fail(err)
	}
}

// hand gives the file, which the source gave at a time (zero: it was not asked), to its
// taker. Nothing is told before that is over: what failed last is not what becomes of it.
func (w *Watcher) hand(ctx context.Context, f File, at time.Time) {
	w.have = f.Key()
	err := w.c.File(ctx, f)
	if ctx.Err() != nil {
		return
	}
	w.refused = nil
	if err != nil {
		w.refused = &Error{Source: w.c.Source.String(), Reason: Refused, Err: err}
	}
	w.set(func(s *State) {
		s.Progress, s.Failures = Progress{}, 0
		if !at.IsZero() {
			s.Checked = at
		}
		if err != nil {
			s.Phase, s.Err = Failed, w.refused
			return
		}
		s.Phase, s.Err = Current, nil
		s.Name, s.Version, s.SHA256 = f.Name, f.Version, f.SHA256
	})
}

func (w *Watcher) fail(err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Source: w.c.Source.String(), Reason: Invalid, Err: err}
	}
	w.set(func(s *State) {
		s.Phase, s.Err, s.Failures, s.Progress = Failed, e, w.attempts, Progress{}
	})
}

// progress tells how far a download is, not too often.
func (w *Watcher) progress(p Progress) {
	now := time.Now()
	if p.Done < p.Total && now.Sub(w.told) < tellEvery {
		return
	}
	w.told = now
	w.set(func(s *State) { s.Phase, s.Progress = Downloading, p })
}

// wait waits for the time of the next attempt, or until someone asks for it.
func (w *Watcher) wait(ctx context.Context) {
	d := w.c.Poll
	if w.attempts > 0 {
		d = w.retry()
	}
	var due <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		due = t.C
		next := time.Now().Add(d)
		w.set(func(s *State) { s.Next = next })
	}
	select {
	case <-ctx.Done():
	case <-due:
	case again := <-w.ask:
		if again {
			w.have = ""
		}
	}
}

// retry is how long to wait after so many failures.
func (w *Watcher) retry() time.Duration {
	most := min(maxRetry, firstRetry<<min(w.attempts-1, 10))
	d := most/2 + rand.N(most/2) //nolint:gosec // G404: jitter
	if e := w.State().Err; e != nil && e.After > d {
		d = min(e.After, maxAfter)
	}
	return cmp.Or(d, firstRetry)
}

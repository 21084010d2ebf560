package infer

import (
	"fmt"
	"slices"
	"time"
)

// How long a run may take: a multiple of what was learned, and never less than the
// time that a machine with too much to do may need.
const (
	stuckTimes = 50
	stuckLeast = 5 * time.Second
	stuckFirst = time.Minute // while nothing was learned
	// maxReopened bounds the engines that are made anew: one that hangs keeps its memory.
	maxReopened = 8
)

// limit is how long a run of n images may take.
func (r *runner) limit(n int) time.Duration {
	t := r.on.costs.time(n)
	if t <= 0 {
		return stuckFirst
	}
	return max(stuckLeast, seconds(stuckTimes*t))
}

// stuck is called by a timer when a run has taken too long. Native code cannot be
// interrupted, so the runner is given up: its frames fail at once, and another engine
// is opened in its place. The frames are not tried elsewhere, or one that hangs an
// engine would hang all of them.
func (r *runner) stuck() {
	if !r.state.CompareAndSwap(runnerWatched, runnerLost) {
		return
	}
	b := r.b
	err := fmt.Errorf("%w: it has not returned from a run of %d images for %v", ErrEngine, len(r.batch), r.limit(len(r.batch)))
	b.log.Error("an engine is stuck", "engine", b.identity.String(), "err", err)
	a := answerer{b: b, identity: r.identity}
	failed := 0
	for i := range r.batch {
		if t := &r.batch[i]; t.src != nil {
			a.fail(t, len(r.batch), err)
			failed++
		}
	}
	b.runs.Add(1)
	b.onRun(Run{Images: failed, Wait: r.wait, Infer: r.limit(len(r.batch)), Err: err})
	b.machine.end()
	r.given <- struct{}{}
	if r.borrows() {
		r.leaveSolo()
	} else {
		r.replace()
	}
	b.running.Done() // Close does not wait for this runner any more
}

// replace opens another engine, with a runner of its own.
func (r *runner) replace() {
	b := r.b
	b.mu.Lock()
	ok := b.reopen != nil && !b.closed && b.reopened < maxReopened && r.state.Load() == runnerLost
	if ok {
		r.replaced = true
		b.reopened++
	}
	b.mu.Unlock()
	if !ok {
		return
	}
	e, err := b.reopen()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err != nil:
		r.replaced = false
		b.log.Error("no other engine instead of the stuck one", "err", err)
	case b.closed:
		_ = e.Close() // nothing was done with it
	default:
		b.succeedLocked(r, instance{engine: e})
		b.log.Info("another engine works instead of the stuck one", "engine", b.identity.String())
	}
}

// leaveSolo lets a new runner go on with the lost runner's own engine: it is the solo
// engine that hangs.
func (r *runner) leaveSolo() {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || r.state.Load() != runnerLost {
		return
	}
	r.replaced = true
	b.loseSoloLocked()
	b.succeedLocked(r, r.instance)
}

// succeedLocked starts a runner in the place of a lost one.
func (b *Batcher) succeedLocked(lost *runner, i instance) {
	other := newRunner(b, i)
	b.forgetLocked(lost)
	b.runners = append(b.runners, other)
	b.startLocked(other)
}

// back is where a lost runner finds itself when its engine has returned after all. It
// says whether the runner goes on; if not, it has closed the engine.
func (r *runner) back() bool {
	<-r.given
	b := r.b
	b.mu.Lock()
	if !b.closed && !r.replaced {
		b.running.Add(1)
		r.state.Store(runnerWorks)
		b.mu.Unlock()
		b.log.Info("a stuck engine works again", "engine", b.identity.String())
		return true
	}
	b.forgetLocked(r)
	own := r.borrows() && !r.replaced
	b.mu.Unlock()
	_ = r.on.engine.Close() // nobody waits for it, whatever it takes
	if own {
		_ = r.engine.Close()
	}
	return false
}

func (b *Batcher) forgetLocked(r *runner) {
	b.runners = slices.DeleteFunc(b.runners, func(o *runner) bool { return o == r })
}

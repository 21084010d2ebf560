package infer

import (
	"runtime"
	"sync/atomic"
	"time"

	"detections/media"
)

// runner runs batches on one engine:
//
//	ready list ─Take→ taken ─convert, Release→ tensor ─Run→ outputs ─Head, NMS→ Done
//
// Everything in it is owned by its goroutine and used again for the next batch.
type runner struct {
	// Static after construction.
	instance       // its own; costs belong to loop
	size     int   // largest batch
	rows     []int // values that each output has for an image
	hands    int   // processors that prepare and read a batch

	state    atomic.Int32
	failures atomic.Int32 // images failed since the last result
	watch    *time.Timer  // ends a run that takes too long, see stuck
	given    chan struct{}
	replaced bool // guarded by b.mu: another runner works instead, or is to

	// Owned by loop, and by stuck while the runner is lost.
	patience *time.Timer // ends a wait for more frames
	batch    []taken
	looked   []look        // by image
	on       *instance     // that runs the batch: its own, or the solo engine
	alone    bool          // the solo engine is the right one for the batch
	wait     time.Duration // longest time that a place of the batch was ready
	answerer
}

// The states of a runner.
const (
	runnerWorks   int32 = iota
	runnerWatched       // in Engine.Run
	runnerLost          // in an Engine.Run that takes too long; its frames are answered
)

// failing is after how many failed images, none of which got a result, an engine
// counts as broken.
const failing = 8

// taken is a frame bound to the batch.
type taken struct {
	src    Source       // nil once answered
	frame  *media.Frame // nil once released
	class  Class
	detect *Detect
	info   media.FrameInfo
	place  media.Geometry
	bound  time.Time
}

// newRunner makes a runner for an engine of which nothing was learned yet, if it has no costs.
func newRunner(b *Batcher, i instance) *runner {
	e := i.engine
	r := &runner{answerer: answerer{b: b, identity: e.Identity()}, instance: i, size: e.MaxBatch(), given: make(chan struct{}, 1)}
	if b.maxBatch > 0 {
		r.size = min(r.size, b.maxBatch)
	}
	for k := range b.model.Outputs {
		r.rows = append(r.rows, len(e.Output(k, 0)))
	}
	if b.gaps != nil {
		r.size = min(r.size, len(b.gaps.mean))
	}
	if r.costs == nil {
		r.costs = newCostModel(r.size)
		if s, ok := e.(Stepped); ok && s.RunsAs(1) == 1 { // else it has one size only
			r.costs.as = s.RunsAs
		}
	}
	r.on, r.batch, r.looked = &r.instance, make([]taken, 0, r.size), make([]look, r.size)
	if !b.sharedCores {
		r.hands = runtime.GOMAXPROCS(0)
	}
	r.watch = time.AfterFunc(time.Hour, r.stuck)
	r.watch.Stop()
	r.patience = time.AfterFunc(time.Hour, func() {
		b.mu.Lock()
		b.work.Broadcast()
		b.mu.Unlock()
	})
	r.patience.Stop()
	return r
}

func (r *runner) loop() {
	for r.gather() {
		if !r.run() && !r.back() {
			return
		}
	}
	r.b.running.Done()
}

// gather waits for a ready place and takes a batch, which may be empty if the
// sources had nothing after all. It returns false when the batcher is closed.
func (r *runner) gather() bool {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.returnLocked(r)
	h := hold{}
	for !b.closed {
		if b.ready.len() == 0 {
			b.idle++
			b.work.Wait()
			b.idle--
			continue
		}
		d := r.holdLocked(&h)
		if d <= 0 {
			break
		}
		r.patience.Reset(d)
		b.idle++
		b.work.Wait()
		b.idle--
	}
	if b.closed {
		return false
	}
	image := r.costs.perImage(r.costs.knee)
	r.batch, r.wait = r.batch[:0], 0
	// The share is settled once: a place that comes back with more frames must not
	// make it grow while other runners have just been woken for them.
	for share := b.shareLocked(r.costs.next()); len(r.batch) < share && b.ready.len() > 0 && !b.closed; {
		if t, waited, ok := b.takeLocked(image); ok {
			r.wait = max(r.wait, waited)
			r.batch = append(r.batch, t)
		}
	}
	if b.due = (time.Time{}); b.ready.len() > 0 {
		b.due = time.Now() // somebody waits for a second batch already
		b.wakeLocked()
	}
	b.borrowLocked(r, b.machine.begin(b.aloneLocked(r.batch)))
	return true
}

// hold is a wait for more frames.
type hold struct {
	frames int // that were ready when it began
	since  time.Time
}

// holdLocked says how long to wait for more frames, although some are ready. If n
// wait for another one for a time g, n·g is lost, and a, the fixed cost of the run
// that the other one would else need, is gained. So the wait pays if n·g < a for the
// g that is expected; it ends when it has cost what it could gain, and earlier if a
// frame would become too old.
func (r *runner) holdLocked(h *hold) time.Duration {
	b, n := r.b, r.b.frames
	if n >= r.costs.worth() || b.maxDelay < 0 || b.idle > 0 {
		return 0
	}
	now := time.Now()
	if h.frames == 0 || h.frames != n && b.maxDelay == 0 {
		*h = hold{n, now}
	}
	if b.maxDelay > 0 {
		return b.maxDelay - now.Sub(h.since)
	}
	if b.joined == b.ready.len() || r.costs.a <= 0 {
		return 0 // nobody can come, or it would gain nothing
	}
	most := r.costs.a / float64(n)
	if h.since.Equal(now) {
		b.gaps.ask(n, now, 4*most)
	}
	if b.gaps.expected(n) >= most {
		return 0
	}
	left := seconds(most) - now.Sub(h.since)
	return min(left, b.due.Sub(now)-2*seconds(r.costs.time(r.costs.knee)))
}

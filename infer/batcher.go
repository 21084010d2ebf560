package infer

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"detections/media"
)

// Request is one frame bound to a batch. The batcher owns the frame from Take on
// and releases it as soon as its pixels are in the batch tensor.
type Request struct {
	Frame  *media.Frame
	Detect *Detect // nil: the defaults
}

// Source is a session's side of the ready list.
type Source interface {
	// Take hands over the next frame to infer: the newest of a live session, the
	// next of a file. ok is false if there is none (any more); more says that
	// another one waits already. It must not block. One runner at a time calls it.
	Take() (r Request, more, ok bool)
	// Done answers a taken frame, exactly once, from the runner's goroutine and in
	// any order. r is valid during the call only. It must not block.
	Done(f media.FrameInfo, r *Result)
}

// The kinds of Result.Err.
var (
	ErrView   = errors.New("frame does not have the view that the model needs")
	ErrEngine = errors.New("engine failed")
)

// BatcherConfig is what a Batcher is built from.
type BatcherConfig struct {
	// Engines of one model, at least one; each gets its own runner. The Batcher
	// owns them from a successful NewBatcher on.
	Engines []Engine
	// Reopen makes another engine for one that is stuck; it may take seconds. nil: the
	// others must do, until it moves again.
	Reopen func() (Engine, error)
	// Solo opens an engine that has all processors, for frames that have the machine to
	// themselves; it takes one image, and gives what the others give. nil: there is none.
	Solo func() (Engine, error)
	// Machine is shared by the Batchers whose engines use the same processors. nil: no
	// other Batcher's do.
	Machine *Machine
	// MaxBatch bounds the images of one run. 0: the engines' own limits.
	MaxBatch int
	// MaxDelay is how long a batch that is not full waits for more frames. 0: as long
	// as pays by what was learned of the engine and of how soon more comes, which is
	// not at all where nothing can be gained. Negative: not at all.
	MaxDelay time.Duration
	// Shares of the classes.
	Shares Shares
	// SharedCores says that engines use the processors that decode too. Decoding then
	// counts: a principal whose frames are dear to decode gets fewer of them.
	SharedCores bool
	// Logger; nil: nothing is logged.
	Logger *slog.Logger
	// OnRun is told of every Engine.Run, from the runners' goroutines. It must not
	// block. nil: nobody is told.
	OnRun func(Run)
}

// Run is one call of Engine.Run. The images of a batch that failed are run once
// more, each alone; those are runs of their own.
type Run struct {
	Images  int
	Wait    time.Duration // longest time that a place of this batch had been in the ready list
	Convert time.Duration // pixels into the tensor, all images
	Infer   time.Duration // Engine.Run
	Post    time.Duration // heads, NMS and Done, all images
	Err     error
}

// BatcherStats are a Batcher's counters.
type BatcherStats struct {
	Ready   int     // places in the ready list now
	Idle    int     // runners that wait for work now
	Engines int     // that can work
	Stuck   int     // engines that do not return from a run
	Failing int     // engines that have failed on every one of their last images
	Rate    float64 // images per second that the engines can do, learned; 0: not known yet
	// Guaranteed is what of Rate each class gets when all want more than there is.
	Guaranteed [Classes]float64
	Runs       int64 // calls of Engine.Run
	Images     int64 // frames answered with a result
	Solo       int64 // of Images, those for which the solo engine was used
	Failed     int64 // frames answered with an error
}

// Batcher shares engines among sources. A source Joins, and tells with
// [Place.Ready] that it has a frame; an idle runner takes the next batch, one frame a
// turn, in the order of the ready list: see [Shares] and [Client].
type Batcher struct {
	// Static after construction.
	model       *Model
	identity    Identity
	log         *slog.Logger
	onRun       func(Run)
	reopen      func() (Engine, error)
	pixels      *Normalizer
	maxBatch    int
	maxDelay    time.Duration
	sharedCores bool
	shares      Shares
	machine     *Machine
	close       func() error

	images, failed, runs atomic.Int64
	solos                atomic.Int64
	expected             atomic.Int64 // ns of a run

	// running counts the runners that Close waits for.
	running sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	work     sync.Cond // a place is ready, or closed
	taken    sync.Cond // a Take has returned
	ready    readyQueue
	frames   int       // what the places in ready have, as far as is known
	joined   int       // places
	idle     int       // runners in work.Wait, those just woken included
	due      time.Time // when the first frame that became ready since the last batch is too old
	gaps     *gapModel
	closed   bool
	runners  []*runner
	reopened int
	solo     solo
}

// NewBatcher starts one runner per engine.
func NewBatcher(c BatcherConfig) (*Batcher, error) {
	shares, err := c.Shares.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("batcher: %w", err)
	}
	c.Shares = shares
	return newBatcher(c, newFairQueue(shares))
}

func newBatcher(c BatcherConfig, ready readyQueue) (*Batcher, error) {
	if len(c.Engines) == 0 {
		return nil, errors.New("batcher: no engine")
	}
	if c.MaxBatch < 0 {
		return nil, fmt.Errorf("batcher: largest batch of %d images", c.MaxBatch)
	}
	b := &Batcher{
		model: c.Engines[0].Model(), identity: c.Engines[0].Identity(), log: c.Logger, onRun: c.OnRun, reopen: c.Reopen,
		maxBatch: c.MaxBatch, maxDelay: c.MaxDelay, sharedCores: c.SharedCores, shares: c.Shares, ready: ready,
		solo: solo{open: c.Solo}, machine: c.Machine,
	}
	if b.model.Head == nil {
		return nil, fmt.Errorf("batcher: model %s has no head", b.model.Ref())
	}
	for _, e := range c.Engines {
		if m := e.Model(); m.SHA256 != b.model.SHA256 || m.Input != b.model.Input {
			return nil, fmt.Errorf("batcher: engines of different models: %s and %s", b.model.Ref(), m.Ref())
		}
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.machine == nil {
		b.machine = new(Machine)
	}
	if b.onRun == nil {
		b.onRun = func(Run) {}
	}
	b.work.L, b.taken.L = &b.mu, &b.mu
	b.close = sync.OnceValue(b.shut)
	b.pixels = NewNormalizer(b.model.Input)
	largest := 0
	for _, e := range c.Engines {
		r := newRunner(b, instance{engine: e})
		b.runners = append(b.runners, r)
		largest = max(largest, r.size)
	}
	b.gaps = newGapModel(largest)
	for _, r := range b.runners {
		b.startLocked(r)
	}
	return b, nil
}

// startLocked lets a runner begin.
func (b *Batcher) startLocked(r *runner) {
	b.running.Add(1)
	go r.loop()
}

// Model is what the engines run.
func (b *Batcher) Model() *Model { return b.model }

// Identity is that of the engines.
func (b *Batcher) Identity() Identity { return b.identity }

// Stats returns the counters as of now.
func (b *Batcher) Stats() BatcherStats {
	b.mu.Lock()
	s := BatcherStats{Ready: b.ready.len(), Idle: b.idle}
	known := 0
	for _, r := range b.runners {
		switch {
		case r.state.Load() == runnerLost:
			s.Stuck++
			continue
		case r.failures.Load() >= failing:
			s.Failing++
		}
		s.Engines++
		if p := r.costs.published.Load(); p != nil {
			s.Rate += p.rate
			known++
		}
	}
	b.mu.Unlock()
	if known > 0 {
		s.Rate *= float64(s.Engines) / float64(known) // those that had nothing to do yet are like the others
	}
	for c, share := range b.shares {
		s.Guaranteed[c] = s.Rate * share / b.shares.sum()
	}
	s.Runs, s.Images, s.Failed, s.Solo = b.runs.Load(), b.images.Load(), b.failed.Load(), b.solos.Load()
	return s
}

// Close begins no new batch, waits for the runs in flight, whose frames are still
// answered, and closes the engines. One that is stuck is given up when its time is
// over. Frames that nobody took stay with their sources. It must not be called from
// Take, Done or OnRun.
func (b *Batcher) Close() error { return b.close() }

func (b *Batcher) shut() error {
	b.mu.Lock()
	b.closed = true
	b.work.Broadcast()
	b.mu.Unlock()
	b.running.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, r := range b.runners {
		if r.state.Load() != runnerLost { // else its memory is in use
			errs = append(errs, r.engine.Close())
		}
	}
	if e := b.solo.engine; e != nil && (b.solo.borrower == nil || b.solo.borrower.state.Load() != runnerLost) {
		errs = append(errs, e.engine.Close())
	}
	return errors.Join(errs...)
}

package infer

import (
	"fmt"
	"time"
)

// Client says whose a source is and what it needs. The zero value is a live source
// of the principal with no name.
type Client struct {
	// Principal is whose it is. Those of a class get equal shares, however many
	// sources they have.
	Principal string
	Class     Class
	// Weight multiplies the principal's share of its class; what its last Join said
	// holds. MinWeight to MaxWeight; 0: 1.
	Weight float64
	// Budget is how old a frame may be when its result is there: the batcher waits for
	// company no longer than that allows. 0: DefaultBudget.
	Budget time.Duration
}

// DefaultBudget is that of a Client.
const DefaultBudget = time.Second

// Place is one source's place in a Batcher's ready list. Its methods may be
// called from any goroutine.
//
//	idle ──Ready──► queued ──a runner──► taking ──Take returned──► idle, or queued again
//
// A place is queued again if Take said that more waits or if Ready was called
// meanwhile. It is never in the list twice, and never taken by two runners at a time.
type Place struct {
	// Static after construction.
	b      *Batcher
	src    Source
	client Client

	// Guarded by b.mu.
	state     placeState
	frames    int // how many frames it has ready, as far as is known
	again     int // the same, if Ready was called during Take
	left      bool
	since     time.Time // when it was queued
	principal *principalQueue
	node      node[Place]
}

type placeState uint8

const (
	placeIdle placeState = iota
	placeQueued
	placeTaking
)

// Join makes a place for a source. It is not in the list before Ready.
func (b *Batcher) Join(s Source, c Client) (*Place, error) {
	if c.Class >= Classes {
		return nil, fmt.Errorf("join the batcher: there is no %v", c.Class)
	}
	var err error
	if c.Weight, err = weight(c.Weight, 1); err != nil {
		return nil, fmt.Errorf("join the batcher: weight: %w", err)
	}
	switch {
	case c.Budget < 0:
		return nil, fmt.Errorf("join the batcher: budget of %v", c.Budget)
	case c.Budget == 0:
		c.Budget = DefaultBudget
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &Place{b: b, src: s, client: c}
	p.node.of = p
	b.joined++
	b.ready.join(p)
	return p, nil
}

// Ready puts the place in the list, unless it is there already, and says how many
// frames could be taken now, at least 1. After Leave or Batcher.Close it does nothing.
func (p *Place) Ready(frames int) {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	frames = max(1, frames)
	switch {
	case p.left || b.closed:
	case p.state == placeTaking:
		p.again = frames
	case p.state == placeIdle:
		b.arrivedLocked()
		b.pushLocked(p, frames)
	case frames > p.frames:
		b.arrivedLocked()
		b.frames += frames - p.frames
		p.frames = frames
		b.wakeLocked()
	}
}

// Expected is how long the run takes that a frame is taken for, as far as is known, if it
// is an unlucky one.
func (p *Place) Expected() time.Duration { return time.Duration(p.b.expected.Load()) }

// Leave takes the place off the list for good. A Take that is running is waited
// for: after Leave has returned there is none and will be none. Frames that were
// taken are still answered by Done. Leave must not be called from Take, nor with a
// lock held that Take needs.
func (p *Place) Leave() {
	b := p.b
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !p.left
	p.left = true
	if p.state == placeQueued {
		b.frames -= p.frames
		b.ready.remove(p)
		p.state = placeIdle
	}
	for p.state == placeTaking {
		b.taken.Wait()
	}
	if first {
		b.joined--
		b.ready.leave(p)
	}
}

// pushLocked queues a place and wakes a runner for it.
func (b *Batcher) pushLocked(p *Place, frames int) {
	p.state, p.again, p.frames, p.since = placeQueued, 0, frames, time.Now()
	if due := p.since.Add(p.client.Budget); b.due.IsZero() || due.Before(b.due) {
		b.due = due
	}
	b.frames += frames
	b.ready.push(p)
	b.wakeLocked()
}

func (b *Batcher) wakeLocked() {
	if b.idle > 0 {
		b.work.Signal()
	}
}

func (b *Batcher) arrivedLocked() {
	if b.gaps.asked > 0 {
		b.gaps.arrived(time.Now())
	}
}

// takeLocked takes one frame from the place whose turn it is. The lock is not held
// while the source's Take runs, so a source may call Ready with its own lock held.
// image is what an image costs the engine, in seconds; waited is how long the place
// was ready.
func (b *Batcher) takeLocked(image float64) (t taken, waited time.Duration, ok bool) {
	p := b.ready.pop()
	since := p.since
	b.frames -= p.frames
	p.state = placeTaking
	b.mu.Unlock()
	r, more, ok := p.src.Take()
	b.mu.Lock()
	p.state = placeIdle
	frames := p.again
	if more && ok {
		frames = max(frames, p.frames-1, 1)
	}
	cost := 0.0
	if ok {
		cost = 1
		if b.sharedCores && image > 0 {
			cost += r.Frame.CPU.Seconds() / image
		}
	}
	goesOn := frames > 0 && !p.left && !b.closed
	b.ready.settle(p, cost, goesOn)
	switch {
	case p.left:
		b.taken.Broadcast()
	case goesOn:
		b.pushLocked(p, frames)
	}
	if !ok {
		return t, 0, false
	}
	now := time.Now()
	return taken{src: p.src, class: p.client.Class, frame: r.Frame, detect: r.Detect, info: r.Frame.FrameInfo, bound: now}, now.Sub(since), true
}

// shareLocked is how many frames a runner may take now: everything that fits if no
// other runner is idle, else its share, so that the others get theirs at once.
func (b *Batcher) shareLocked(size int) int {
	runners := b.idle + 1
	return min(size, (b.frames+runners-1)/runners)
}

package infer

import "time"

// Place is one source's place in a Batcher's ready list. Its methods may be
// called from any goroutine.
//
//	idle ──Ready──► queued ──a runner──► taking ──Take returned──► idle, or queued again
//
// A place is queued again, at the tail, if Take said that more waits or if Ready
// was called meanwhile. It is never in the list twice, and never taken by two
// runners at a time.
type Place struct {
	// Static after construction.
	b   *Batcher
	src Source

	// Guarded by b.mu.
	state      placeState
	again      bool // Ready was called during Take
	left       bool
	since      time.Time // when it was queued
	prev, next *Place    // in the ready list
}

type placeState uint8

const (
	placeIdle placeState = iota
	placeQueued
	placeTaking
)

// Join makes a place for a source. It is not in the list before Ready.
func (b *Batcher) Join(s Source) *Place { return &Place{b: b, src: s} }

// Ready puts the place in the list, unless it is there already. After Leave or
// Batcher.Close it does nothing.
func (p *Place) Ready() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	switch {
	case p.left || p.b.closed:
	case p.state == placeIdle:
		p.b.pushLocked(p)
	case p.state == placeTaking:
		p.again = true
	}
}

// Leave takes the place off the list for good. A Take that is running is waited
// for: after Leave has returned there is none and will be none. Frames that were
// taken are still answered by Done. Leave must not be called from Take, nor with a
// lock held that Take needs.
func (p *Place) Leave() {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.left = true
	if p.state == placeQueued {
		p.b.ready.remove(p)
		p.state = placeIdle
	}
	for p.state == placeTaking {
		p.b.taken.Wait()
	}
}

// pushLocked queues a place and wakes a runner for it.
func (b *Batcher) pushLocked(p *Place) {
	p.state, p.again, p.since = placeQueued, false, time.Now()
	b.ready.pushBack(p)
	if b.idle > 0 {
		b.work.Signal()
	}
}

// takeLocked takes one frame from the place at the head of the list. The lock is
// not held while the source's Take runs, so a source may call Ready with its own
// lock held.
func (b *Batcher) takeLocked() (r Request, p *Place, ok bool) {
	p = b.ready.popFront()
	p.state = placeTaking
	b.mu.Unlock()
	r, more, ok := p.src.Take()
	b.mu.Lock()
	p.state = placeIdle
	switch {
	case p.left:
		b.taken.Broadcast()
	case !b.closed && (p.again || more && ok):
		b.pushLocked(p)
	}
	return r, p, ok
}

// shareLocked is how many frames a runner may take now: everything that fits if no
// other runner is idle, else its share, so that the others get theirs at once.
func (b *Batcher) shareLocked(size int) int {
	if b.idle == 0 {
		return size
	}
	runners := b.idle + 1
	return min(size, (b.ready.len+runners-1)/runners)
}

// placeList is a doubly linked list through the places themselves.
type placeList struct {
	head, tail *Place
	len        int
}

func (l *placeList) pushBack(p *Place) {
	p.prev, p.next = l.tail, nil
	if l.tail == nil {
		l.head = p
	} else {
		l.tail.next = p
	}
	l.tail = p
	l.len++
}

func (l *placeList) remove(p *Place) {
	if p.prev == nil {
		l.head = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		l.tail = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	l.len--
}

func (l *placeList) popFront() *Place {
	p := l.head
	l.remove(p)
	return p
}

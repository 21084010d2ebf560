package infer

import "fmt"

// Class is a kind of source. Each has a share of the engines, so that none starves.
type Class uint8

// The classes.
const (
	Live    Class = iota // the newest frame counts
	File                 // every frame counts
	Image                // somebody waits for one answer
	Classes              // how many there are
)

// String is the name of the class.
func (c Class) String() string {
	if c >= Classes {
		return fmt.Sprintf("class %d", uint8(c))
	}
	return [Classes]string{"live", "file", "image"}[c]
}

// Shares are what the classes get when all of them want more than there is, in
// proportion. What a class does not use goes to the others. 0: that of DefaultShares.
type Shares [Classes]float64

// DefaultShares keep cameras fresh and files moving.
var DefaultShares = Shares{Live: 4, File: 2, Image: 2}

// The bounds of shares and weights; within them a turn skips at most ten rounds.
const (
	MinWeight = 0.1
	MaxWeight = 10
)

// withDefaults fills in what is 0, and refuses what makes no sense.
func (s Shares) withDefaults() (Shares, error) {
	for c := range s {
		var err error
		if s[c], err = weight(s[c], DefaultShares[c]); err != nil {
			return s, fmt.Errorf("share of class %v: %w", Class(c), err)
		}
	}
	return s, nil
}

func (s Shares) sum() float64 {
	sum := 0.0
	for _, share := range s {
		sum += share
	}
	return sum
}

func weight(w, otherwise float64) (float64, error) {
	switch {
	case w == 0:
		return otherwise, nil
	case !(w >= MinWeight && w <= MaxWeight): // NaN too
		return 0, fmt.Errorf("expected %v to %v, got %v", MinWeight, MaxWeight, w)
	}
	return w, nil
}

// readyQueue orders the places that are ready. The batcher's lock is held.
type readyQueue interface {
	// join makes room for a place, leave gives it up.
	join(p *Place)
	leave(p *Place)
	push(p *Place)
	// pop takes the place whose turn it is; there is one.
	pop() *Place
	// settle says what the turn that pop gave has cost, in images: 0 if the source
	// had no frame after all, more than 1 if decoding it was dear; and whether the
	// place is pushed again at once.
	settle(p *Place, cost float64, more bool)
	remove(p *Place)
	len() int
}

// fairQueue is start-time fair queueing over the classes, deficit round robin over a
// class's principals, and round robin over a principal's places. A turn is one image.
// Everything is O(1) per image, whatever the number of places.
type fairQueue struct {
	classes [Classes]classQueue
	now     float64 // virtual time: images served per unit of share
	ready   int
}

// classQueue are a class's principals that have something ready.
type classQueue struct {
	share      float64
	next       float64 // virtual time of its next turn
	principals map[string]*principalQueue
	ring       list[principalQueue]
	// rounds counts turns of the ring, so that a principal that was away knows how
	// many it has missed.
	rounds float64
}

// principalQueue are a principal's places of one class that are ready.
type principalQueue struct {
	name   string
	joined int // places, ready or not
	weight float64
	// deficit is what it may still take in this round, in images; below 0: what it
	// has taken too much.
	deficit float64
	left    float64 // rounds when it left the ring
	places  list[Place]
	node    node[principalQueue]
}

// maxDebt bounds what a principal can owe, in images: so many rounds does it miss.
const maxDebt = 16

func newFairQueue(s Shares) *fairQueue {
	q := &fairQueue{}
	for c := range q.classes {
		q.classes[c] = classQueue{share: s[c], principals: map[string]*principalQueue{}}
	}
	return q
}

func (q *fairQueue) len() int { return q.ready }

func (q *fairQueue) join(p *Place) {
	c := &q.classes[p.client.Class]
	pr := c.principals[p.client.Principal]
	if pr == nil {
		pr = &principalQueue{name: p.client.Principal}
		pr.node.of = pr
		c.principals[pr.name] = pr
	}
	pr.joined++
	pr.weight = p.client.Weight
	p.principal = pr
}

func (q *fairQueue) leave(p *Place) {
	if p.principal.joined--; p.principal.joined == 0 {
		delete(q.classes[p.client.Class].principals, p.principal.name)
	}
}

func (q *fairQueue) push(p *Place) {
	c, pr := &q.classes[p.client.Class], p.principal
	if c.ring.len == 0 {
		c.next = max(c.next, q.now) // time that it did not use is lost
	}
	if pr.places.len == 0 {
		c.enter(pr)
	}
	pr.places.pushBack(&p.node)
	q.ready++
}

// enter puts a principal into the ring: at its head if its turn was not over when
// the place that is back now was taken.
func (c *classQueue) enter(pr *principalQueue) {
	if pr.deficit > 0 {
		c.ring.pushFront(&pr.node)
		return
	}
	pr.deficit = min(0, pr.deficit+pr.weight*(c.rounds-pr.left)) // debts expire, credit does not grow
	c.ring.pushBack(&pr.node)
}

func (q *fairQueue) pop() *Place {
	var c *classQueue
	for i := range q.classes {
		if o := &q.classes[i]; o.ring.len > 0 && (c == nil || o.next < c.next) {
			c = o
		}
	}
	q.now = c.next
	c.next += 1 / c.share
	pr := c.ring.head.of
	for pr.deficit <= 0 {
		if pr.deficit += pr.weight; pr.deficit > 0 {
			break
		}
		c.rotate()
		pr = c.ring.head.of
	}
	p := pr.places.head.of
	pr.deficit--
	q.drop(c, p)
	if pr.places.len > 0 && pr.deficit <= 0 {
		c.rotate()
	}
	return p
}

// rotate ends the turn of the principal at the head.
func (c *classQueue) rotate() {
	pr := c.ring.head.of
	c.ring.remove(&pr.node)
	c.ring.pushBack(&pr.node)
	c.rounds += 1 / float64(c.ring.len)
}

func (q *fairQueue) settle(p *Place, cost float64, more bool) {
	c, pr := &q.classes[p.client.Class], p.principal
	if cost == 0 {
		c.next -= 1 / c.share
	}
	pr.deficit = max(-maxDebt, pr.deficit+1-cost)
	if !more && pr.places.len == 0 {
		pr.deficit = min(0, pr.deficit) // nothing to spend it on
	}
}

func (q *fairQueue) remove(p *Place) { q.drop(&q.classes[p.client.Class], p) }

func (q *fairQueue) drop(c *classQueue, p *Place) {
	pr := p.principal
	pr.places.remove(&p.node)
	q.ready--
	if pr.places.len == 0 {
		c.ring.remove(&pr.node)
		pr.left = c.rounds
		c.rounds += 1 / float64(c.ring.len+1)
	}
}

// list is a doubly linked list through nodes that are parts of its elements.
type list[T any] struct {
	head, tail *node[T]
	len        int
}

type node[T any] struct {
	of         *T
	prev, next *node[T]
}

func (l *list[T]) pushBack(n *node[T]) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
	l.len++
}

func (l *list[T]) pushFront(n *node[T]) {
	n.prev, n.next = nil, l.head
	if l.head == nil {
		l.tail = n
	} else {
		l.head.prev = n
	}
	l.head = n
	l.len++
}

func (l *list[T]) remove(n *node[T]) {
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
	l.len--
}

package infer_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

// The simulation: the real Batcher, in virtual time, with an engine that has a price
// list instead of a model, and thousands of clients that have only the shape of
// sessions. Policies are compared here, under the same load:
//
//	fifo         frames in the order in which they came, as most servers do it
//	round robin  one place per session, all sessions alike, newest live frame
//	fair         what the program does

// policy is a way of sharing the engines.
type policy struct {
	name string
	// early says that every frame stands in the queue by itself, and stays in it.
	early bool
	make  func(infer.BatcherConfig) (*infer.Batcher, error)
	as    func(infer.Client, int) infer.Client
}

func same(c infer.Client, _ int) infer.Client { return c }

var (
	fifo       = policy{"fifo", true, infer.NewFIFO, same}
	roundRobin = policy{"round robin", false, infer.NewBatcher, func(c infer.Client, i int) infer.Client {
		return infer.Client{Principal: string(rune(i)), Budget: c.Budget}
	}}
	fair     = policy{"fair", false, infer.NewBatcher, same}
	policies = []policy{fifo, roundRobin, fair}
)

// kind is a group of clients that behave alike.
type kind struct {
	name     string
	n        int
	sessions int // of each principal, 0: 1
	class    infer.Class
	// period is the time between two frames. 0: the next one is ready when one of the
	// slots is free, as in a file; with think, so much later.
	period time.Duration
	slots  int // of a file, 0: 4
	think  time.Duration
	frames int           // 0: until the end
	decode time.Duration // what decoding a frame costs
}

// load is a simulation.
type load struct {
	engines int // 0: 1
	engine  infertest.Config
	config  infer.BatcherConfig
	kinds   []kind
	lasts   time.Duration
}

// outcome is what became of a kind's frames.
type outcome struct {
	mu       sync.Mutex
	asked    []int // by client
	answered []int
	ages     []time.Duration // from ready to answered, of all answers
}

// p is a quantile of the ages.
func (o *outcome) p(q float64) time.Duration {
	if len(o.ages) == 0 {
		return 0
	}
	slices.Sort(o.ages)
	return o.ages[int(q*float64(len(o.ages)-1))]
}

func (o *outcome) total() (asked, answered int) {
	for i := range o.asked {
		asked, answered = asked+o.asked[i], answered+o.answered[i]
	}
	return asked, answered
}

// jain is Jain's index over the share of its frames that each client got: 1 if all
// got the same share, 1/n if one got everything.
func (o *outcome) jain() float64 {
	var sum, squares float64
	for i := range o.asked {
		x := float64(o.answered[i]) / float64(max(1, o.asked[i]))
		sum, squares = sum+x, squares+x*x
	}
	return sum * sum / (float64(len(o.asked)) * squares)
}

// simulate runs a load under a policy; the outcomes are in the order of the kinds.
func simulate(t *testing.T, l load, p policy) (out []*outcome) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for range max(1, l.engines) {
			l.config.Engines = append(l.config.Engines, infertest.NewEngine(l.engine))
		}
		l.config.SharedCores = l.config.SharedCores && p.name == "fair"
		b, err := p.make(l.config)
		if err != nil {
			t.Fatal(err)
		}
		l.config.Engines = nil
		frames, random := newFrames(), rand.New(rand.NewPCG(1, 2))
		var all sync.WaitGroup
		until := time.Now().Add(l.lasts)
		who := 0
		for _, k := range l.kinds {
			o := &outcome{asked: make([]int, k.n), answered: make([]int, k.n)}
			out = append(out, o)
			for i := range k.n {
				who++
				s := &simulated{
					kind: k, policy: p, b: b, frames: frames, out: o, i: i, again: make(chan struct{}, 1), until: until,
					client: p.as(infer.Client{Principal: k.name + string(rune(i/max(1, k.sessions))), Class: k.class}, who),
				}
				phase := time.Duration(random.Int64N(int64(max(k.period, 10*ms))))
				all.Go(func() { s.live(t, phase) })
			}
		}
		all.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return out
}

// simulated is a client.
type simulated struct {
	kind
	policy policy
	client infer.Client
	b      *infer.Batcher
	frames *frames
	out    *outcome
	i      int
	again  chan struct{}
	until  time.Time

	mu      sync.Mutex
	place   *infer.Place
	waiting []time.Time // when the frames that nobody took became ready
	open    int         // taken
	over    bool
}

func (s *simulated) live(t *testing.T, phase time.Duration) {
	s.place = placedAs(t, s.b, s, s.client)
	time.Sleep(phase)
	slots := 4
	if s.slots > 0 {
		slots = s.slots
	}
	for n := 0; time.Now().Before(s.until) && (s.kind.frames == 0 || n < s.kind.frames); n++ {
		s.out.mu.Lock()
		s.out.asked[s.i]++
		s.out.mu.Unlock()
		s.put()
		if s.period > 0 {
			time.Sleep(s.period)
			continue
		}
		for s.held() >= slots {
			<-s.again
		}
		time.Sleep(s.think)
	}
	for s.period == 0 && s.kind.frames > 0 && s.held() > 0 { // a file waits for its results
		<-s.again
	}
	s.place.Leave()
	s.mu.Lock()
	s.over, s.waiting = true, nil
	s.mu.Unlock()
}

// put makes a frame ready.
func (s *simulated) put() {
	now := time.Now()
	if s.policy.early {
		e := &early{simulated: s, ready: now}
		p, err := s.b.Join(e, s.client)
		if err != nil {
			panic(err)
		}
		s.mu.Lock()
		s.waiting = append(s.waiting, now)
		s.mu.Unlock()
		p.Ready(1)
		return
	}
	s.mu.Lock()
	if s.class == infer.Live {
		s.waiting = s.waiting[:0] // the newest wins
	}
	s.waiting = append(s.waiting, now)
	n := len(s.waiting)
	s.mu.Unlock()
	s.place.Ready(n)
}

// held is how many frames are not answered.
func (s *simulated) held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open + len(s.waiting)
}

func (s *simulated) Take() (r infer.Request, more, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.class == infer.Live && len(s.waiting) > 0 && time.Since(s.waiting[0]) > infer.DefaultBudget-s.place.Expected() {
		s.waiting = s.waiting[:0]
	}
	if len(s.waiting) == 0 || s.class == infer.Live && s.open > 0 {
		return r, false, false
	}
	f := s.frames.get(s.waiting[0], s.decode)
	s.waiting = slices.Delete(s.waiting, 0, 1)
	s.open++
	return infer.Request{Frame: f}, len(s.waiting) > 0 && s.class != infer.Live, true
}

func (s *simulated) Done(f media.FrameInfo, r *infer.Result) {
	s.mu.Lock()
	s.open--
	n := len(s.waiting)
	s.mu.Unlock()
	s.count(f, r)
	if n > 0 {
		s.place.Ready(n)
	}
}

func (s *simulated) count(f media.FrameInfo, r *infer.Result) {
	s.out.mu.Lock()
	if s.kind.frames > 0 || !r.Finished.After(s.until) { // else there is no competition any more
		s.out.answered[s.i]++
		s.out.ages = append(s.out.ages, r.Finished.Sub(f.Ready))
	}
	s.out.mu.Unlock()
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// early is a frame that is bound when it becomes ready.
type early struct {
	*simulated
	ready time.Time
}

func (e *early) Take() (r infer.Request, more, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return r, false, false
	}
	e.waiting = slices.Delete(e.waiting, 0, 1)
	e.open++
	return infer.Request{Frame: e.frames.get(e.ready, e.decode)}, false, true
}

func (e *early) Done(f media.FrameInfo, r *infer.Result) {
	e.mu.Lock()
	e.open--
	e.mu.Unlock()
	e.count(f, r)
}

// frames makes frames that all show the same.
type frames struct {
	views []media.Picture

	mu   sync.Mutex
	free []*media.Frame
}

func newFrames() *frames {
	v := infertest.Model().Input.View()
	return &frames{views: []media.Picture{{Pix: make([]byte, v.Size()), Geometry: v.Place(64, 64)}}}
}

func (p *frames) get(ready time.Time, decode time.Duration) *media.Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	var f *media.Frame
	if n := len(p.free); n > 0 {
		f, p.free = p.free[n-1], p.free[:n-1]
	} else {
		f = media.NewFrame(func() {
			p.mu.Lock()
			p.free = append(p.free, f)
			p.mu.Unlock()
		})
		f.Views = p.views
	}
	f.Ready, f.CPU = ready, decode
	f.Hold()
	return f
}

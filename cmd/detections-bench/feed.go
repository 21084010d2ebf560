//go:build cgo

package main

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"detections/infer"
	"detections/media"
)

// feed is a group of clients with ready pictures.
type feed struct {
	principal string // of all of them; empty: each has its own
	clients   int
	class     infer.Class
	period    time.Duration // between two frames of a client; 0: as fast as they are taken
	frames    int           // of each client of class File, that must all be answered; 0: until the end
	open      int           // frames that a client without a period has under way, 0: 4
}

// fed is what became of a feed.
type fed struct {
	mu       sync.Mutex
	asked    []int
	answered []int
	ages     sample // ms from ready to answered
	failed   error

	begun, last time.Time // of the feeding, and the last answer that counts
}

// rate is how many frames per second were answered, up to the last answer: what was
// under way at the end would else be missing.
func (f *fed) rate() float64 {
	if f.last.IsZero() {
		return 0
	}
	return float64(f.total(f.answered)) / f.last.Sub(f.begun).Seconds()
}

func (f *fed) total(of []int) (n int) {
	for _, v := range of {
		n += v
	}
	return n
}

// jain is Jain's index over the shares of their frames that the clients got.
func (f *fed) jain() float64 {
	var sum, squares float64
	for i := range f.asked {
		x := float64(f.answered[i]) / float64(max(1, f.asked[i]))
		sum, squares = sum+x, squares+x*x
	}
	return sum * sum / (float64(len(f.asked)) * squares)
}

// stills are ready pictures that all show the same.
type stills struct {
	view media.Picture
	mu   sync.Mutex
	free []*media.Frame // guarded by mu
}

func (p *stills) get(ready time.Time, client int) *media.Frame {
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
		f.Views = []media.Picture{p.view}
	}
	f.FrameInfo = media.FrameInfo{Width: 768, Height: 576, Ready: ready, Index: int64(client)}
	f.Hold()
	return f
}

// feeder is a client that feeds a batcher.
type feeder struct {
	feed
	index int
	out   *fed
	pics  *stills
	place *infer.Place
	until time.Time
	again chan struct{}

	mu      sync.Mutex
	waiting []time.Time // guarded by mu: when the frames that nobody took were ready
	taken   int         // guarded by mu: not answered
}

// run feeds for a time; funnel, if not nil, takes the frames of all clients in the
// order in which they come, as most servers do.
func (c *feeder) run(funnel *funnel) {
	most := max(1, c.open)
	if c.open == 0 {
		most = 4
	}
	for n := 0; (c.frames > 0 && n < c.frames) || c.frames == 0 && time.Now().Before(c.until); n++ {
		c.out.mu.Lock()
		c.out.asked[c.index]++
		c.out.mu.Unlock()
		c.mu.Lock()
		if c.class == infer.Live && funnel == nil {
			c.waiting = c.waiting[:0]
		}
		c.waiting = append(c.waiting, time.Now())
		left := len(c.waiting)
		c.mu.Unlock()
		if funnel != nil {
			funnel.put(c)
		} else {
			c.place.Ready(left)
		}
		if c.period > 0 {
			time.Sleep(c.period)
			continue
		}
		for c.held() >= most {
			<-c.again
		}
	}
	for c.frames > 0 && c.held() > 0 {
		<-c.again
	}
	if c.class == infer.Live && funnel == nil {
		c.finish()
	}
}

// finish waits for what is under way at the end: it counts as asked for. A place that
// has no frame any more is not taken from.
func (c *feeder) finish() {
	late := time.NewTimer(infer.DefaultBudget)
	defer late.Stop()
	for c.held() > 0 {
		select {
		case <-c.again:
		case <-late.C:
			return
		}
	}
}

func (c *feeder) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken + len(c.waiting)
}

// Take implements infer.Source.
func (c *feeder) Take() (r infer.Request, more, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.class == infer.Live && len(c.waiting) > 0 && time.Since(c.waiting[0]) > infer.DefaultBudget-c.place.Expected() {
		c.waiting = c.waiting[:0]
	}
	if len(c.waiting) == 0 || c.class == infer.Live && c.taken > 0 {
		return r, false, false
	}
	return c.take(), len(c.waiting) > 0 && c.class != infer.Live, true
}

// take takes the oldest frame. c.mu is held.
func (c *feeder) take() infer.Request {
	f := c.pics.get(c.waiting[0], c.index)
	c.waiting = slices.Delete(c.waiting, 0, 1)
	c.taken++
	return infer.Request{Frame: f}
}

// Done implements infer.Source.
func (c *feeder) Done(f media.FrameInfo, r *infer.Result) {
	c.mu.Lock()
	c.taken--
	left := len(c.waiting)
	c.mu.Unlock()
	c.out.mu.Lock()
	if inTime := r.Finished.Before(c.until); inTime || c.frames > 0 || c.class == infer.Live {
		c.out.answered[c.index]++
		if inTime || c.frames > 0 {
			c.out.last = r.Finished
		}
		c.out.ages.addMS(r.Finished.Sub(f.Ready))
	}
	c.out.failed = errors.Join(c.out.failed, r.Err)
	c.out.mu.Unlock()
	if left > 0 && c.place != nil {
		c.place.Ready(left)
	}
	select {
	case c.again <- struct{}{}:
	default:
	}
}

// funnel is one place for everybody: first come, first served.
type funnel struct {
	place *infer.Place
	mu    sync.Mutex
	queue []*feeder // guarded by mu: one for each frame
	taken []*feeder // guarded by mu: of the frames under way
}

func (f *funnel) put(c *feeder) {
	f.mu.Lock()
	f.queue = append(f.queue, c)
	n := len(f.queue)
	f.mu.Unlock()
	f.place.Ready(n)
}

// Take implements infer.Source.
func (f *funnel) Take() (r infer.Request, more, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return r, false, false
	}
	c := f.queue[0]
	f.queue = f.queue[1:]
	c.mu.Lock()
	r = c.take()
	c.mu.Unlock()
	r.Frame.Index = int64(len(f.taken))
	f.taken = append(f.taken, c)
	return r, len(f.queue) > 0, true
}

// Done implements infer.Source.
func (f *funnel) Done(info media.FrameInfo, r *infer.Result) {
	f.mu.Lock()
	c := f.taken[info.Index]
	f.mu.Unlock()
	c.Done(info, r)
}

// serve lets feeds compete for engines for a time. Those are left open.
func (a *alone) serve(c infer.BatcherConfig, engines []infer.Engine, lasts time.Duration, fifo bool, feeds ...feed) ([]*fed, error) {
	for _, e := range engines {
		c.Engines = append(c.Engines, keptOpen{e})
	}
	b, err := infer.NewBatcher(c)
	if err != nil {
		return nil, err
	}
	pics := &stills{view: media.Picture{Pix: a.pixels(), Geometry: a.model.Input.View().Place(768, 576)}}
	var line *funnel
	if fifo {
		line = &funnel{}
		if line.place, err = b.Join(line, infer.Client{}); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	var out []*fed
	var all sync.WaitGroup
	until := time.Now().Add(lasts)
	for _, f := range feeds {
		o := &fed{begun: time.Now(), asked: make([]int, f.clients), answered: make([]int, f.clients)}
		out = append(out, o)
		for i := range f.clients {
			cl := &feeder{feed: f, index: i, out: o, pics: pics, until: until, again: make(chan struct{}, 1)}
			principal := f.principal
			if principal == "" {
				principal = fmt.Sprint(f.class, i)
			}
			if !fifo {
				if cl.place, err = b.Join(cl, infer.Client{Principal: principal, Class: f.class}); err != nil {
					return nil, errors.Join(err, b.Close())
				}
			}
			all.Go(func() {
				if f.period > 0 {
					time.Sleep(f.period * time.Duration(i) / time.Duration(f.clients)) // not all at once
				}
				cl.run(line)
				if cl.place != nil {
					cl.place.Leave()
				}
			})
		}
	}
	all.Wait()
	err = b.Close()
	for _, o := range out {
		err = errors.Join(err, o.failed)
	}
	return out, err
}

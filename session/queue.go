package session

import (
	"cmp"
	"slices"
	"time"

	"detections/infer"
	"detections/media"
	"detections/session/wire"
)

// maxUnemitted bounds the taken frames whose events are not in the journal yet.
const maxUnemitted = 64

// entry is one thing that must come out in order: a frame, a change, or where a
// segment begins.
type entry struct {
	change  *change       // set: from here on other settings hold
	segment *wire.Segment // set: here the input begins anew

	frame *media.Frame // until it is taken
	info  media.FrameInfo
	set   settings
	taken bool

	// The answer. dets keeps its memory from frame to frame.
	answered bool
	dets     []infer.Detection
	result   infer.Result
}

func (e *entry) isFrame() bool { return e.change == nil && e.segment == nil }

func (e *entry) ready() bool { return e.answered || !e.isFrame() }

// put adds a frame to the queue and the mailbox. s.mu is held.
func (s *Session) put(f *media.Frame) {
	if s.mode == wire.Live {
		s.drop(superseded) // the newest wins
	}
	f.Index += s.first
	f.Input += s.segment.base
	e := s.newEntry()
	e.frame, e.info, e.set = f, f.FrameInfo, s.settings
	s.reached = f.FrameInfo
	s.queue = append(s.queue, e)
	s.mailbox = append(s.mailbox, e)
}

// drop gives up every frame in the mailbox. s.mu is held.
func (s *Session) drop(why dropReason) {
	for _, e := range s.mailbox {
		e.frame.Release()
		s.count.dropped[why]++
		i := slices.Index(s.queue, e)
		s.queue = slices.Delete(s.queue, i, i+1)
		s.recycle(e)
	}
	s.mailbox = s.mailbox[:0]
	s.wake.Signal() // it may have been the last one
}

// source is the session as the batcher sees it.
type source struct{ *Session }

// client is what the batcher is told of the session.
func (s *Session) client() infer.Client {
	class := infer.File
	if s.mode == wire.Live {
		class = infer.Live
	}
	return infer.Client{Principal: s.cfg.Principal, Class: class, Budget: s.budget()}
}

// Take implements infer.Source.
func (s source) Take() (r infer.Request, more, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mode == wire.Live && len(s.mailbox) > 0 && time.Since(s.mailbox[0].info.Ready) > s.patience() {
		s.drop(stale) // better no answer than a late one
	}
	if !s.takeable() {
		return infer.Request{}, false, false
	}
	if s.mode == wire.Live && !s.cfg.Pace.Allow() {
		s.drop(rateLimited)
		return infer.Request{}, false, false
	}
	e := s.mailbox[0]
	s.mailbox = slices.Delete(s.mailbox, 0, 1)
	r = infer.Request{Frame: e.frame, Detect: e.set.search}
	e.frame, e.taken = nil, true
	s.inFlight++
	return r, s.takeable(), true
}

// patience is how old a live frame may be when it is taken, so that its result is not
// older than the budget. A budget that no run can keep still gets half of it.
func (s *Session) patience() time.Duration {
	budget := s.budget()
	return budget - min(s.place.Expected(), budget/2)
}

// budget is how old a live frame may be when its result is there.
func (s *Session) budget() time.Duration {
	return time.Duration(cmp.Or(s.cfg.Start.BudgetMS, wire.DefaultBudget)) * time.Millisecond
}

// takeable says whether a runner may take a frame now. s.mu is held.
func (s *Session) takeable() bool {
	if len(s.mailbox) == 0 || len(s.queue)-len(s.mailbox) >= maxUnemitted {
		return false
	}
	return s.mode == wire.File || s.inFlight == 0
}

// Done implements infer.Source.
func (s source) Done(f media.FrameInfo, r *infer.Result) {
	s.mu.Lock()
	i := slices.IndexFunc(s.queue, func(e *entry) bool { return e.taken && !e.answered && e.info.Index == f.Index })
	e := s.queue[i]
	e.answered, e.result = true, *r
	e.dets = append(e.dets[:0], r.Detections...)
	e.result.Detections = e.dets
	s.inFlight--
	s.wake.Signal()
	s.goOn()
}

// goOn unlocks s.mu, and asks for a runner if a frame may be taken now.
func (s *Session) goOn() {
	again, n, place := s.takeable(), len(s.mailbox), s.place
	s.mu.Unlock()
	if again {
		place.Ready(n)
	}
}

// next waits for the head of the queue, removes and counts it; nil: nothing more comes.
func (s *Session) next() *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.queue) > 0 && s.queue[0].ready():
			e := s.queue[0]
			s.queue = slices.Delete(s.queue, 0, 1)
			s.count.settle(e)
			return e
		case len(s.queue) == 0 && s.drained:
			return nil
		}
		s.wake.Wait()
	}
}

// emitted gives an entry back whose event is in the journal.
func (s *Session) emitted(e *entry) {
	s.mu.Lock()
	s.recycle(e)
	s.goOn()
}

// drain says that nothing is added to the queue any more. If the session was
// stopped, what nobody has taken is dropped.
func (s *Session) drain(stopped bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case stopped && s.suspending:
		s.leave()
	case stopped:
		s.drop(cancelled)
	}
	s.drained = true
	s.wake.Broadcast()
}

// leave gives up what another life does again: the first frame that nobody has
// taken, and everything after it, changes too. s.mu is held.
func (s *Session) leave() {
	if len(s.mailbox) == 0 {
		return
	}
	s.queue = s.queue[:slices.Index(s.queue, s.mailbox[0])]
	for _, e := range s.mailbox {
		e.frame.Release()
		s.recycle(e)
		s.left++
	}
	s.mailbox = s.mailbox[:0]
}

func (s *Session) newEntry() *entry {
	if n := len(s.spare); n > 0 {
		e := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return e
	}
	return &entry{}
}

func (s *Session) recycle(e *entry) {
	*e = entry{dets: e.dets[:0]}
	if len(s.spare) < maxUnemitted {
		s.spare = append(s.spare, e)
	}
}

// waited is how long a result's frame lay ready before it was bound to a batch.
func (e *entry) waited() time.Duration { return max(0, e.result.Bound.Sub(e.info.Ready)) }

package session

import (
	"slices"
	"time"

	"detections/session/wire"
)

// lag is how far decoding is behind a live input.
type lag struct {
	since time.Time     // it is too far behind since then; zero: it is not
	then  time.Duration // how far that was
}

// keepUp ends a live session whose decoding falls ever further behind. Of the bytes of
// a recording none can be left out, only pictures; and what cannot be had fresh is not
// worth its price. What is behind because an engine was waited for may catch up.
//
// How far it is behind is told by when the bytes came: between those of the last
// picture and the last ones. What comes all at once is behind nothing.
func (s *Session) keepUp() {
	s.mu.Lock()
	at := s.reached.Input
	s.mu.Unlock()
	now, age := time.Now(), s.input.backlog(at)
	s.mu.Lock()
	s.behind = behind{age, now}
	s.mu.Unlock()
	l, budget := &s.lag, s.budget()
	switch {
	case age <= 2*budget:
		l.since = time.Time{}
	case l.since.IsZero(), now.Sub(l.since) >= budget && age < l.then:
		l.since, l.then = now, age
	case now.Sub(l.since) >= budget:
		s.Abort(wire.Errorf(wire.Overloaded, "decoding is %v behind this live input, more than twice its budget of %v, and falls further behind; send fewer or smaller pictures",
			age.Round(time.Millisecond), budget))
	}
}

// behind is how far decoding was behind what had come, and when.
type behind struct {
	by time.Duration
	at time.Time
}

// behindFor is how long that says anything. It is found out with each picture that is
// picked, and they may be far apart.
const behindFor = time.Second

// lags says that decoding is further behind than a frame may be old.
func (s *Session) lags() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behind.by > s.budget() && time.Since(s.behind.at) < behindFor
}

// WantsKey says that a key frame would help: decoding is behind and can leave out what
// comes before it, or units were left out up to it. Who calls WriteUnit may call it.
func (f *Feeder) WantsKey() bool { return f.refused.asks || f.in.s.lags() }

// backlog is how much later than the byte before a size the last byte came.
func (in *input) backlog(size int64) time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	i, _ := slices.BinarySearchFunc(in.marks, size, func(m mark, size int64) int { return int(m.size - size) })
	if i == len(in.marks) {
		return 0
	}
	return in.marks[len(in.marks)-1].at.Sub(in.marks[i].at)
}

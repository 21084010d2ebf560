package auth

import (
	"sync"
	"time"
)

const (
	// seenTime is how long a token need not be verified again: a signature takes up to
	// 50 µs, and many clients send one with every picture.
	seenTime = time.Minute
	maxSeen  = 4096 // tokens
)

// seen are tokens that were good a moment ago, by their digest: the text itself is not
// kept. One that was refused is never among them, so nobody without a good token can
// fill it.
type seen struct {
	mu     sync.Mutex
	tokens map[digest]seenToken // guarded by mu
}

// seenToken is a token that was verified.
type seenToken struct {
	Identity
	at   time.Time
	keys keyFinder
	by   uint64 // the version of keys that it was verified with
}

// find gives whose token it is, if it must not be verified again: not for long, not
// beyond its end, and not once its issuer has other keys.
func (s *seen) find(d digest, now time.Time) (Identity, bool) {
	s.mu.Lock()
	t, ok := s.tokens[d]
	s.mu.Unlock()
	if !ok || now.Sub(t.at) >= seenTime || !now.Before(t.Expires) || t.by != t.keys.version() {
		return Identity{}, false
	}
	return t.Identity, true
}

// add keeps a token that is good.
func (s *seen) add(d digest, t seenToken) {
	if t.by == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || len(s.tokens) >= maxSeen {
		s.tokens = make(map[digest]seenToken)
	}
	s.tokens[d] = t
}

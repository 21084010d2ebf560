package session

import "time"

// HoldInput is a write to the spool that takes until release.
func (s *Session) HoldInput() (release func()) {
	s.input.mu.Lock()
	return s.input.mu.Unlock
}

// Wait is how long a byte more would wait.
func (p *Pace) Wait() time.Duration { return time.Until(p.due(1)) }

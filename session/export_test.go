package session

// HoldInput is a write to the spool that takes until release.
func (s *Session) HoldInput() (release func()) {
	s.input.mu.Lock()
	return s.input.mu.Unlock
}

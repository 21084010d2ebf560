package session

import (
	"cmp"
	"time"

	"detections/infer"
	"detections/media"
	"detections/session/wire"
)

// Status is a session as of one moment.
type Status struct {
	ID         string
	Principal  string
	Created    time.Time
	Mode       wire.Mode
	Media      wire.Media
	State      wire.StateName
	Left       time.Time         // of lingering: since when nobody sends
	AI         *wire.AI          // of waiting_for_engine: how far it is
	Stream     *media.StreamInfo // nil: not recognised yet
	Model      *infer.Model      // nil: no engine yet
	Received   int64             // bytes
	Acked      int64             // bytes that are durable
	Offset     uint64            // of the last event
	Accounting wire.Accounting
	End        *wire.End // nil: it runs
	// Percent of the media that was decoded, −1 if its size is not known.
	Percent float64
	// ETA is how long the rest takes at the rate so far, 0 if not known.
	ETA time.Duration
}

// Status returns the session as it stands. It does not wait for the input, which writes
// to a disk: who asks for all sessions, as admission does, would wait for the slowest.
func (s *Session) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.cfg.Start.Media.Size
	if s.input.ends() {
		total = s.received()
	}
	st := Status{
		ID: s.cfg.ID, Principal: s.cfg.Principal, Created: s.created, Mode: s.mode, Media: s.cfg.Start.Media,
		State: s.state, AI: s.ai, Stream: s.stream, Model: s.model, Received: s.received(), Acked: s.acked,
		Offset: s.offset, Accounting: s.accounting(), End: s.end, Percent: -1,
	}
	if s.cfg.Spool == nil {
		st.Accounting = s.end.Accounting
	}
	if left := s.input.away.Load(); left != nil && st.State != wire.Ended {
		st.State, st.Left = wire.Lingering, *left
	}
	if total > 0 {
		st.Percent = min(100, 100*float64(s.reached.Input)/float64(total))
		if done := st.Percent; done > 1 && done < 100 {
			st.ETA = time.Duration(float64(time.Since(s.created)) * (100 - done) / done)
		}
	}
	return st
}

// Changed is closed when Status may have changed in state or acknowledged bytes.
func (s *Session) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Ready is closed when the input was recognised, its index or an engine is waited
// for, or the session has ended: an HTTP door then knows which status to answer.
func (s *Session) Ready() <-chan struct{} { return s.ready }

func (s *Session) setState(st wire.StateName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	s.notify()
}

func (s *Session) markReady() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recognised()
}

func (s *Session) notifyChange() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify()
}

// notify wakes whoever waits for Changed. s.mu is held.
func (s *Session) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// recognised closes ready. s.mu is held.
func (s *Session) recognised() {
	if !s.isReady {
		s.isReady = true
		close(s.ready)
	}
}

// Unacked is how many received bytes are not durable yet.
func (s *Session) Unacked() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received() - s.acked
}

// Heartbeat is how often connections are to be pinged.
func (s *Session) Heartbeat() time.Duration {
	return time.Duration(cmp.Or(s.cfg.Start.HeartbeatMS, wire.DefaultBeat)) * time.Millisecond
}

// Ends says that the session takes no more media: all has come, nobody came back with the
// rest, or it is stopped. One that is suspended takes more in its next life.
func (s *Session) Ends() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end != nil || s.stopped != nil || s.input.ends()
}

// Failure is why the session failed: nil while it runs, and if it did not.
func (s *Session) Failure() *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil || s.end.Outcome != wire.Failed {
		return nil
	}
	return &wire.Error{Code: s.end.Code, Message: s.end.Message}
}

// Told is the state message of the status.
func (st Status) Told() wire.State {
	m := wire.State{Type: wire.TypeState, State: st.State}
	if st.State == wire.WaitingForEngine {
		m.AI = st.AI
	}
	return m
}

// Progress is the progress message of the status.
func (st Status) Progress() wire.Progress {
	p := wire.Progress{Type: wire.TypeProgress, Offset: st.Offset, Bytes: st.Received, Accounting: st.Accounting}
	if st.Percent >= 0 {
		p.Percent = new(wire.Decimal(st.Percent))
	}
	if st.ETA > 0 {
		p.ETA = new(wire.Millis(st.ETA))
	}
	return p
}

package session

import (
	"context"
	"errors"

	"detections/infer"
	"detections/session/wire"
)

// Inference gives sessions their engines.
type Inference interface {
	// Acquire waits until engines are ready, and holds them. waiting is called if that
	// takes time, and again whenever it is known better how long.
	Acquire(ctx context.Context, w Want, waiting func(wire.AI)) (*Hold, error)
}

// Want says which engines are of use.
type Want struct {
	// Model is the one so far; zero: there is none.
	Model infer.ModelKey
	// Keep says that it is to be this one as long as there are engines of it.
	Keep bool
	// Picture says that somebody waits for the answer to a request.
	Picture bool
}

// Hold is the use of a Batcher, which is not closed before Release.
type Hold struct {
	Batcher *infer.Batcher
	// Moved is closed when the holder should acquire anew: others are better, or these
	// are given up.
	Moved   <-chan struct{}
	Release func()
}

// errRefit ends a decoder whose views another model cannot take.
var errRefit = errors.New("the model takes other pictures")

// want says which engines the session can use. Who holds an engine calls it, or who
// has none yet.
func (s *Session) want() Want {
	w := Want{Keep: s.mode == wire.File}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.cfg.Past; {
	case s.model != nil:
		w.Model = s.model.Key()
	case p != nil && p.configured != nil:
		w.Model = p.configured.Engine.Key()
	}
	return w
}

// waitForEngine tells clients how far it is.
func (s *Session) waitForEngine(ai wire.AI) {
	s.mu.Lock()
	s.state, s.ai = wire.WaitingForEngine, &ai
	s.notify()
	s.recognised() // or an HTTP client would see nothing meanwhile
	s.mu.Unlock()
}

// follow moves the session to better engines whenever there are some. The function
// that it returns ends that and takes the session's place away.
func (s *Session) follow() (leave func()) {
	ctx, stop := context.WithCancel(s.ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-s.hold.Moved:
			case <-ctx.Done():
				return
			}
			next, err := s.cfg.Inference.Acquire(ctx, s.want(), func(wire.AI) {})
			if err != nil {
				if ctx.Err() == nil {
					s.log.Warn("the session stays with its engines", "err", err)
				}
				return
			}
			s.move(next)
		}
	}()
	return func() {
		stop()
		<-over
		s.place.Leave()
	}
}

// move goes on with other engines. The old ones take no frame once the new ones do,
// so that the identities of results do not alternate.
func (s *Session) move(next *Hold) {
	old := s.hold
	defer func() { old.Release() }()
	if next.Batcher == old.Batcher {
		s.hold = next
		return
	}
	place, err := next.Batcher.Join(source{s}, s.client())
	if err != nil {
		s.log.Error("the session stays with its engines", "err", err)
		next.Release()
		old = &Hold{Release: func() {}}
		s.hold = &Hold{Batcher: s.hold.Batcher, Release: s.hold.Release}
		return
	}
	s.place.Leave()
	s.mu.Lock()
	s.hold, s.place = next, place
	s.adopt(next.Batcher.Model())
	s.goOn()
}

// adopt takes another model for the frames that nobody has taken. s.mu is held.
func (s *Session) adopt(m *infer.Model) {
	before := s.model
	s.model = m
	if m.Key() == before.Key() {
		return
	}
	s.settings = s.settings.on(m)
	for i := range s.changes {
		s.changes[i].settings = s.changes[i].settings.on(m)
	}
	if m.Input.View() != before.Input.View() {
		s.drop(superseded) // the next frame comes as this model needs it
		s.refitLocked()
		return
	}
	for _, e := range s.mailbox {
		e.set = e.set.on(m)
	}
}

// refitLocked has another decoder go on after the last frame, with other views.
func (s *Session) refitLocked() {
	if s.refit != nil {
		s.unfit = true
		s.refit()
	}
}

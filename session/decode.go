package session

import (
	"context"
	"errors"
	"io"
	"time"

	"detections/media"
	"detections/session/wire"
)

// point is where another decoder goes on.
type point struct {
	at   *media.Checkpoint // after this frame; nil: from the beginning
	from int64             // where the sampling rule came into force, if after that frame
}

// Bounds of the decoders that a session loses: in vain, that is one after the other
// without a picture in between, and in all. An input that kills them must not cost
// much more than one, and one that a busy machine kills should come to its end.
const (
	maxInVain       = 2
	maxReplacements = 16
)

// decode moves frames from decoders into the mailbox until the input's end, segment
// by segment.
func (s *Session) decode() error {
	defer s.giveUpChanges()
	var failed error // of the segment before
	for {
		seg, err := s.input.next()
		switch {
		case err != nil:
			return err
		case seg == nil:
			return failed
		}
		s.enterSegment(*seg)
		failed = s.decodeSegment()
		if failed == nil {
			continue
		}
		if s.ctx.Err() != nil || !s.input.excuses(failed) {
			return failed
		}
		s.log.Warn("a segment that was cut off could not be decoded to its end", "err", failed)
	}
}

// decodeSegment has one decoder after the other: one whose process died is replaced,
// and so is one that did not start.
func (s *Session) decodeSegment() error {
	inVain := 0
	for n := 0; ; n++ {
		before := s.picked()
		err := s.decodeOnce()
		if errors.Is(err, errRefit) {
			n--
			continue
		}
		if inVain++; s.picked() > before {
			inVain = 1
		}
		again := errors.Is(err, media.ErrStarting) || errors.Is(err, media.ErrCrashed)
		if !again || s.ctx.Err() != nil || inVain > maxInVain || n == maxReplacements {
			return mediaError(err)
		}
		s.log.Warn("another decoder goes on", "err", err)
	}
}

func (s *Session) picked() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count.decode.Picked
}

// decodeOnce has one decoder.
func (s *Session) decodeOnce() error {
	ctx, stop := context.WithCancelCause(s.ctx)
	defer stop(nil)
	d, err := s.openDecoder(func() { stop(errRefit) })
	if err != nil {
		return err
	}
	defer s.closeDecoder(d)
	for {
		out, err := d.Next(ctx)
		switch {
		case err != nil && errors.Is(context.Cause(ctx), errRefit):
			return errRefit
		case errors.Is(err, io.EOF):
			s.observe(d.Stats())
			return nil
		case err != nil:
			s.observe(d.Stats())
			return err
		}
		put := out.Frame != nil
		if put && s.mode != wire.Live {
			s.cfg.Pace.wait(s.ctx) // meanwhile the decoder fills its slots, and waits too
		}
		var used time.Duration
		if put {
			used = out.Frame.CPU // accept gives the frame away
		}
		s.accept(out, d.Stats())
		s.cfg.Pace.rest(ctx, used)
		if put && s.mode == wire.Live {
			s.keepUp()
		}
	}
}

func (s *Session) openDecoder(refit func()) (media.Decoder, error) {
	file, err := s.cfg.Spool.File()
	if err != nil {
		return nil, err
	}
	defer file.Close() // the decoder process has its own
	s.mu.Lock()
	job := media.Job{
		Views: []media.View{s.model.Input.View()}, Sample: s.settings.sample.Rule(), Live: s.mode == wire.Live,
		Container: s.cfg.Start.Media.Container, FPS: s.cfg.Start.Media.FPS,
		Base: s.segment.base, Resume: s.point.at, From: s.point.from,
	}
	if s.takesUnits() {
		job.Container, job.MaxAge = media.Units, s.budget()
	}
	s.mu.Unlock()
	d, err := s.cfg.Decoders.Start(s.ctx, file, job)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.decoder, s.state, s.refit, s.unfit = d, wire.Running, refit, false
	if s.model.Input.View() != job.Views[0] { // another model since then
		s.refitLocked()
	}
	if rule := s.settings.sample.Rule(); rule != job.Sample { // changed meanwhile
		d.Configure(0, rule)
	}
	for _, c := range s.changes { // asked of the one before
		d.Configure(c.ruleID, c.settings.sample.Rule())
	}
	s.notify()
	s.mu.Unlock()
	s.input.grow()
	return d, nil
}

func (s *Session) closeDecoder(d media.Decoder) {
	s.mu.Lock()
	s.decoder, s.refit = nil, nil
	s.mu.Unlock()
	if err := d.Close(); err != nil {
		s.log.Warn("closing the decoder failed", "err", err)
	}
}

// giveUpChanges puts changes into the queue for which no frame is left. Another life
// may have frames for them: there the client asks again.
func (s *Session) giveUpChanges() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.changes {
		if !s.suspending {
			s.enter(c, s.nextIndex())
		}
	}
	s.changes, s.decoded = nil, true
}

// mediaError puts a decoder's failure into the protocol's terms.
func mediaError(err error) error {
	var code wire.Code
	switch {
	case errors.Is(err, media.ErrUnsupported):
		code = wire.UnsupportedMedia
	case errors.Is(err, media.ErrDecode):
		code = wire.DecodeFailed
	case errors.Is(err, media.ErrStalled):
		code = wire.DecodeStalled
	case errors.Is(err, media.ErrTruncated):
		code = wire.UploadIncomplete
	case errors.Is(err, media.ErrTooLarge):
		code = wire.TooLarge
	case errors.Is(err, media.ErrStarting):
		code = wire.Overloaded
	default:
		return err
	}
	return &wire.Error{Code: code, Message: err.Error()}
}

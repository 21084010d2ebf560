package session

import (
	"context"
	"time"

	"detections/infer"
	"detections/media"
	"detections/session/wire"
)

// emit puts everything that leaves the queue into the journal, in order. When the
// journal fails it goes on without it until every frame is answered and released.
func (s *Session) emit() (err error) {
	for e := s.next(); e != nil; e = s.next() {
		if err == nil {
			if err = s.record(e); err != nil {
				s.log.Error("the session's log cannot be written", "err", err)
				s.Abort(wire.Errorf(wire.Internal, "the session's log cannot be written"))
			}
		}
		s.emitted(e)
	}
	return err
}

func (s *Session) record(e *entry) error {
	switch {
	case e.change != nil:
		s.tracking.interrupt(s.inForce.track != e.change.settings.track)
		s.inForce = e.change.settings
		return s.configured(e.change.from)
	case e.segment != nil:
		s.tracking.interrupt(true)
		return s.append(e.segment, s.replayOf(e))
	}
	if r := &e.result; r.Err == nil && (r.Identity != s.identity || r.Model.Ref() != s.engine.Ref()) {
		// Whatever can change a result is an event before that result.
		s.tracking.interrupt(r.Identity.Model != s.identity.Model)
		s.engine, s.identity = r.Model, r.Identity
		s.inForce.id = "" // no message asked for it
		if err := s.configured(e.info.Index); err != nil {
			return err
		}
	}
	m := s.detections(e)
	if err := s.append(m, s.replayOf(e)); err != nil {
		return err
	}
	s.cfg.OnResult(m.Timing)
	return nil
}

// replayOf is what another life needs to go on after an entry. A live session does
// not go back to a frame: it needs how far it was, in numbers.
func (s *Session) replayOf(e *entry) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := replay{configured: s.configuredAt, count: s.count, at: e.info.Checkpoint}
	r.track = s.tracking.appendReplay(nil, s.inForce.track && e.result.Err == nil, s.mode == wire.Live)
	if s.mode == wire.Live {
		r.at = media.Checkpoint{Index: s.nextIndex() - 1, Stats: s.count.decode}
	}
	return r.append(nil)
}

func (s *Session) configured(frame int64) error {
	set := s.inForce
	err := s.append(&wire.Configured{
		ID: set.id, Frame: frame, Mode: s.mode, Sample: set.sample,
		Detect: set.told(s.engine), Track: set.track,
		Model: wire.ModelRef{Name: s.engine.Name, Version: s.engine.Version}, Engine: s.identity,
	}, nil)
	s.configuredAt = s.offset
	return err
}

// told is how clients are told of the settings. That a threshold was asked for matters
// where the model has others.
func (set settings) told(m *infer.Model) wire.DetectInForce {
	asked := set.detect.Asked && m.Thresholds != nil
	return wire.DetectInForce{Threshold: wire.Decimal(set.detect.Threshold), Asked: asked, IoU: wire.Decimal(set.detect.IoU), Labels: set.labels}
}

func (s *Session) detections(e *entry) *wire.Detections {
	m := &wire.Detections{
		Frame: e.info.Index, PTS: wire.Millis(e.info.PTS), Width: e.info.Width, Height: e.info.Height,
		Detections: wire.NewDetections(s.engine, s.tracking.follow(e, &s.inForce)), Model: s.engine.Ref(), Timing: s.timing(e),
	}
	if st := e.info.Stamp; st != (media.Stamp{}) {
		m.RTP, m.ClientTS, m.Seq = given(st.RTP, st.HasRTP), given(st.Client, st.HasClient), given(st.Seq, st.HasSeq)
	}
	if err := e.result.Err; err != nil {
		m.Error = &wire.Failure{Code: wire.Internal}
		s.log.Warn("frame not inferred", "frame", e.info.Index, "err", err)
	}
	return m
}

// given is a field that is left out if there is nothing to say.
func given[T any](v T, has bool) *T {
	if !has {
		return nil
	}
	return &v
}

func (s *Session) timing(e *entry) wire.Timing {
	arrived := s.input.arrival(e.info.Input)
	decoding := e.info.Ready.Add(-e.info.Decode)
	return wire.Timing{
		Receive: wire.Millis(max(0, decoding.Sub(arrived))),
		Decode:  wire.Millis(e.info.Decode),
		Queue:   wire.Millis(e.waited()),
		Infer:   wire.Millis(e.result.Finished.Sub(e.result.Bound)),
		Jitter:  wire.Millis(time.Duration(e.info.Stamp.Jitter) * time.Microsecond),
	}.Since(time.Since(arrived))
}

// append puts a message into the journal. Emit calls it, and Run after emit has ended.
func (s *Session) append(m wire.Numbered, replay []byte) error {
	e := m.Event(s.offset + 1)
	if err := s.cfg.Journal.Append(context.Background(), s.offset, e, replay); err != nil {
		return err
	}
	s.mu.Lock()
	s.offset = e.Offset
	s.mu.Unlock()
	return nil
}

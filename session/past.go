package session

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"detections/infer"
	"detections/session/wire"
)

// Past is where an earlier life of a session was: the session goes on there, with
// the results that it would have had in one life. A live one begins a new segment.
type Past struct {
	// Complete says that all of the media is in the spool.
	Complete bool

	offset     uint64           // of the last event
	configured *wire.Configured // in force then; nil: the session had not begun
	inForce    uint64           // its offset
	point      point            // of the last result
	count      counts
	tracking   tracking
	untracked  bool // objects need not be followed again
}

// Accounting is what the earlier life has counted; nil: nothing. Frames that were on their
// way are not in it: this life decodes them again, or counts them as not recorded.
func (p *Past) Accounting() wire.Accounting {
	if p == nil {
		return NoFrames()
	}
	a := p.count.accounting(0)
	a.Decoded -= p.count.unsettled()
	return a
}

// Line is an event of a session's own timeline with what was recorded beside it.
type Line struct {
	wire.Event
	Replay []byte
}

// pastBatch is how many lines are read at a time on the way back to the last result.
const pastBatch = 32

// Recall reads as much of a timeline with offset events as going on needs: back to
// the last result, and the configuration that it was made with.
func Recall(ctx context.Context, offset uint64, read LineReader) (*Past, error) {
	p := &Past{offset: offset}
	return p, p.read(ctx, read)
}

// read is Recall.
func (p *Past) read(ctx context.Context, read LineReader) error {
	var later []Line // than the last result, in order
	for to := p.offset; to > 0 && p.point.at == nil; {
		after := to - min(to, pastBatch)
		lines, err := read(ctx, after, int(to-after))
		if err != nil {
			return err
		}
		if len(lines) != int(to-after) {
			return fmt.Errorf("session: the log holds %d events after %d, not %d", len(lines), after, to-after)
		}
		if i := lastResult(lines); i >= 0 {
			if err := p.result(ctx, lines[i], read); err != nil {
				return err
			}
			lines = lines[i+1:]
		}
		later, to = slices.Concat(lines, later), after
	}
	for _, l := range later {
		if l.Type == wire.TypeConfigured {
			if err := p.change(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// lastResult finds the last line with a replay: a result, or where a segment begins.
func lastResult(lines []Line) int {
	for i, l := range slices.Backward(lines) {
		if l.Type == wire.TypeDetections || l.Type == wire.TypeSegment {
			return i
		}
	}
	return -1
}

// result takes in the last result and the configuration that it was made with.
func (p *Past) result(ctx context.Context, l Line, read LineReader) error {
	var r replay
	if err := r.parse(l.Replay); err != nil {
		return err
	}
	p.point.at, p.count = &r.at, r.count
	if !p.untracked {
		if err := p.tracking.recall(ctx, l, &r, read); err != nil {
			return err
		}
	}
	if r.configured == 0 {
		return errReplay
	}
	lines, err := read(ctx, r.configured-1, 1)
	if err != nil {
		return err
	}
	if len(lines) != 1 || lines[0].Type != wire.TypeConfigured {
		return errReplay
	}
	return p.change(lines[0])
}

// change takes in a configured event.
func (p *Past) change(l Line) error {
	var c wire.Configured
	if err := json.Unmarshal(l.Message, &c); err != nil {
		return fmt.Errorf("session: configured event in the log: %w", err)
	}
	if p.configured != nil && c.Sample.Rule() != p.configured.Sample.Rule() {
		p.point.from = c.Frame
	}
	if p.configured != nil && separates(p.configured, &c) {
		p.tracking.interrupt(true)
	}
	p.configured, p.inForce = &c, l.Offset
	return nil
}

// settings are those in force, with the model's own numbers for the labels. It may be
// another model: the one of then may be gone.
func (p *Past) settings(m *infer.Model) settings {
	c := p.configured
	s := settings{id: c.ID, sample: c.Sample, labels: c.Detect.Labels, track: c.Track}
	threshold := float32(c.Detect.Threshold)
	s.look(&infer.Detect{
		Threshold: threshold, Asked: c.Detect.Asked || threshold != infer.DefaultThreshold, IoU: float32(c.Detect.IoU),
	})
	return s.on(m)
}

// EndLine is an end event for a session that cannot write it itself.
func EndLine(end *wire.End, offset uint64, at Moment) Line {
	return Line{Event: end.Event(offset), Replay: endReplay(at)}
}

// NewEnded gives a session that ended in an earlier life, from its last line: it can
// be looked at, and its timeline read. Run must not be called. The time is that of the
// end, as this process's clock counts.
func NewEnded(c Config, last Line) (*Session, time.Time, error) {
	end := new(wire.End)
	if err := json.Unmarshal(last.Message, end); err != nil {
		return nil, time.Time{}, fmt.Errorf("session: end event in the log: %w", err)
	}
	s := New(c)
	s.offset, s.acked, s.end, s.state = last.Offset, end.Bytes, end, wire.Ended
	s.input.closed = true
	s.recognised()
	s.stop()
	close(s.done)
	at, ok := endedAt(last.Replay)
	if !ok {
		at.Wall = s.created
	}
	return s, time.Now().Add(-c.now().Age(at)), nil
}

// received is how many bytes of the media have come.
func (s *Session) received() int64 {
	if s.cfg.Spool == nil { // it ended in an earlier life
		return s.end.Bytes
	}
	return s.cfg.Spool.Size()
}

// recall takes up the past, before Run.
func (s *Session) recall(p *Past) {
	s.offset, s.count, s.configuredAt, s.point = p.offset, p.count, p.inForce, p.point
	s.acked = s.cfg.Spool.Size()
	s.tracking = p.tracking
	s.tracking.interrupt(false)
	if s.mode == wire.Live {
		s.recallLive(p)
	}
	s.input.recall(p.Complete)
}

// Suspend stops the session without ending it: what is in flight is finished and
// recorded, and a later life goes on from there. Done is closed when nothing more
// is written; there is no end event.
func (s *Session) Suspend() {
	s.mu.Lock()
	s.suspending = s.stopped == nil
	s.mu.Unlock()
	s.stop()
}

// Suspended says that the session is over here, and not at its end.
func (s *Session) Suspended() bool {
	select {
	case <-s.done:
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end == nil
}

// isSuspending says whether the session is to stop without an end event.
func (s *Session) isSuspending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.suspending
}

func (s *Session) createdAt() time.Time {
	return cmp.Or(s.cfg.Created, time.Now())
}

package session

import (
	"slices"

	"detections/session/wire"
)

// segment is a part of the input that is decoded by itself. A file is one segment,
// whatever connections it came over. A live input begins anew whenever it was
// interrupted: a recorder that lost its connection cannot go on where it was.
//
// Frames are numbered and counted on from segment to segment; their times are those
// of the segment.
type segment struct {
	base   int64              // its first byte in the spool
	reason wire.SegmentReason // why it began; empty: it is the first
}

// maxSegments bounds the segments that wait to be decoded.
const maxSegments = 64

// interrupt lets the next byte begin another segment if the session is live. The
// decoder is told by grow that there is no more of this one. in.mu is held.
func (in *input) interrupt() {
	if in.s.mode == wire.Live && !in.cut && !in.final && !in.closed {
		in.cut, in.reason = true, wire.Reconnected
	}
}

// begin begins a segment at a byte, unless that belongs to the last one. in.mu is held.
func (in *input) begin(at int64) {
	if !in.cut {
		return
	}
	in.segments = append(in.segments, segment{at, in.reason})
	in.cut = false
	select {
	case in.begun <- struct{}{}:
	default:
	}
}

// extent is how long the current segment is, and whether that is all. in.mu is held.
func (in *input) extent() (size int64, final bool) {
	to, final := in.s.received(), in.final || in.cut
	if len(in.segments) > 0 {
		to, final = in.segments[0].base, true
	}
	return to - in.current.base, final
}

// next waits for the next segment and makes it the current one; nil: there is none.
func (in *input) next() (*segment, error) {
	for {
		seg, final := in.advance()
		if seg != nil {
			return seg, nil
		}
		if final {
			return nil, in.empty()
		}
		select {
		case <-in.begun:
		case <-in.ended:
		case <-in.s.ctx.Done():
			return nil, in.s.ctx.Err()
		}
	}
}

func (in *input) advance() (seg *segment, final bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.segments) == 0 {
		return nil, in.final
	}
	in.current = in.segments[0]
	in.segments = slices.Delete(in.segments, 0, 1)
	return new(in.current), false
}

// empty is what is wrong with an input of no bytes.
func (in *input) empty() error {
	if in.s.received() > 0 {
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.incomplete != nil {
		return in.incomplete
	}
	return wire.Errorf(wire.UnsupportedMedia, "the media is empty: 0 bytes came before its end; send a video file or a picture")
}

// excuses says whether a segment failed because it was cut off: another one may follow.
func (in *input) excuses(failed error) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return (in.cut || len(in.segments) > 0) && slices.Contains(ofCutSegments, wire.AsError(failed).Code)
}

// ofCutSegments is how decoding can end where a live input was cut off.
var ofCutSegments = []wire.Code{wire.UnsupportedMedia, wire.DecodeFailed, wire.UploadIncomplete}

// enterSegment turns to a segment, and puts its event into its place among the frames.
func (s *Session) enterSegment(seg segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segment, s.behind = seg, behind{}
	if seg.reason == "" {
		return
	}
	s.first, s.before, s.point = s.nextIndex(), s.count.decode, point{}
	m := &wire.Segment{Reason: seg.reason, Frame: s.first, Bytes: seg.base, Missed: map[string]int64{dropNames[notRecorded]: s.lost}}
	s.lost = 0
	if n := len(s.queue); n > 0 && s.queue[n-1].segment != nil {
		// There was nothing in the one before. So what waits behind a frame is bounded.
		s.queue[n-1].segment.Frame, s.queue[n-1].segment.Bytes = m.Frame, m.Bytes
		return
	}
	s.queue = append(s.queue, &entry{segment: m})
	s.wake.Signal()
}

// nextIndex is the index of the next frame. s.mu is held.
func (s *Session) nextIndex() int64 {
	return s.first + s.count.decode.Decoded - s.before.Decoded
}

// recallLive counts on where an earlier life was. What had been decoded, but had no
// result when the last event was recorded, is lost. What was decoded after that
// nobody knows: its indices are given again.
func (s *Session) recallLive(p *Past) {
	s.point = point{}
	if at := p.point.at; at != nil {
		s.first = at.Index + 1
	}
	if c := p.configured; c != nil {
		s.first = max(s.first, c.Frame)
	}
	s.before = s.count.decode
	s.lost = s.count.unsettled()
	s.count.dropped[notRecorded] += s.lost
}

// unsettled is how many frames have been picked and are not accounted for.
func (c *counts) unsettled() int64 {
	n := c.decode.Picked - c.inferred - c.failed
	for _, d := range c.dropped {
		n -= d
	}
	return n
}

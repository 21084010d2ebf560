package session

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"detections/media"
	"detections/session/wire"
)

// Again says how to decode the frame of a result once more.
type Again struct {
	// Job gives the frame, maybe others before it; its views are missing.
	Job media.Job
	// First is the session's index of what the job counts as frame 0.
	First int64
	// Sum is Checkpoint.Sum of the frame; 0: not known.
	Sum uint32
}

// LineReader reads events of a session's timeline with what is recorded beside them.
type LineReader = func(ctx context.Context, after uint64, limit int) ([]Line, error)

// Locate finds out how to decode the frame of a result again, from the timeline.
func Locate(ctx context.Context, start wire.Start, result uint64, read LineReader) (a Again, err error) {
	a.Job = media.Job{Live: start.Mode == wire.Live, Container: start.Media.Container, FPS: start.Media.FPS}
	if start.TakesUnits() {
		a.Job.Container = media.Units
	}
	if a.Job.Live {
		return a, a.inSegment(ctx, result, read)
	}
	p := &Past{offset: result - 1, untracked: true}
	if err := p.read(ctx, read); err != nil {
		return a, err
	}
	lines, err := read(ctx, result-1, 1)
	if err != nil {
		return a, err
	}
	var r replay
	if len(lines) != 1 || p.configured == nil {
		return a, errReplay
	}
	if err := r.parse(lines[0].Replay); err != nil {
		return a, err
	}
	a.Job.Sample, a.Job.Resume, a.Job.From, a.Sum = p.configured.Sample.Rule(), p.point.at, p.point.from, r.at.Sum
	return a, nil
}

// LeftOut says whether the decoder of a live session left out units, because it was
// behind, before a result. Frames are then not numbered as they are when all is decoded.
func LeftOut(ctx context.Context, start wire.Start, result uint64, read LineReader) (bool, error) {
	if !start.TakesUnits() {
		return false, nil
	}
	lines, err := read(ctx, result-1, 1)
	if err != nil {
		return false, err
	}
	var r replay
	if len(lines) != 1 {
		return false, errReplay
	}
	err = r.parse(lines[0].Replay)
	return r.at.Stats.Undecoded.Late > 0, err
}

// segmentBatch is how many lines are read at a time in search of a segment.
const segmentBatch = 256

// inSegment is Locate in a live session, which has no checkpoints: its segment is
// decoded from the beginning, and every picture of it.
func (a *Again) inSegment(ctx context.Context, result uint64, read LineReader) error {
	for to := result; to > 0; to -= min(to, segmentBatch) {
		after := to - min(to, segmentBatch)
		lines, err := read(ctx, after, int(to-after))
		if err != nil {
			return err
		}
		seg, err := find(slices.Backward(lines))
		switch {
		case err != nil:
			return err
		case seg == nil:
		case seg.Bytes == 0: // it was recorded by a version that did not say
			return fmt.Errorf("session: where the segment of event %d begins is not known", result)
		default:
			a.Job.Base, a.First = seg.Bytes, seg.Frame
			return nil
		}
	}
	return nil
}

// NextSegment is the first segment that begins behind an event, or nil, and the event
// behind which to look for it another time.
func NextSegment(ctx context.Context, after uint64, read LineReader) (*wire.Segment, uint64, error) {
	for {
		lines, err := read(ctx, after, segmentBatch)
		if err != nil || len(lines) == 0 {
			return nil, after, err
		}
		if seg, err := find(slices.All(lines)); seg != nil || err != nil {
			return seg, after, err
		}
		after = lines[len(lines)-1].Offset
	}
}

// find is the first segment among lines; nil: there is none.
func find(lines iter.Seq2[int, Line]) (*wire.Segment, error) {
	for _, l := range lines {
		if l.Type == wire.TypeSegment {
			seg := new(wire.Segment)
			return seg, json.Unmarshal(l.Message, seg)
		}
	}
	return nil, nil
}

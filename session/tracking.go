package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"detections/infer"
	"detections/infer/track"
	"detections/session/wire"
)

// stateEvery is how many results are recorded between two states of the tracker. A
// state is large; what is between two of them is done again by another life.
const stateEvery = 64

// tracking follows a session's objects, in the order of its events.
type tracking struct {
	tracker track.Tracker
	on      bool // it was, at some time
	// Of the latest result: what clients are told of, and what is fainter.
	told, faint []infer.Detection
	since       int // results since a state was recorded; −1: what went before does not count
}

// follow gives the detections that clients are told of, with the numbers of their objects.
func (t *tracking) follow(e *entry, set *settings) []infer.Detection {
	t.told, t.faint = t.told[:0], t.faint[:0]
	for _, d := range e.result.Detections { // best first
		if d.Confidence >= set.detect.Least(e.result.Model, d.Class) {
			t.told = append(t.told, d)
		} else {
			t.faint = append(t.faint, d)
		}
	}
	if set.track && e.result.Err == nil {
		t.on = true
		t.tracker.Update(e.info.PTS, t.told, t.faint)
	}
	return t.told
}

// interrupt says that an event comes between two results, and whether objects cannot
// be followed across it.
func (t *tracking) interrupt(forget bool) {
	if t.since = -1; forget {
		t.tracker.Reset()
	}
}

// appendReplay encodes what another life needs to follow the same objects. A live
// session begins with others there: it needs the numbers that were given. followed: it
// is a result in which objects were followed.
func (t *tracking) appendReplay(b []byte, followed, live bool) []byte {
	switch {
	case !t.on:
		return b
	case live:
		numbers := t.tracker
		numbers.Reset()
		return numbers.AppendState(b)
	case t.since < 0 || t.since == stateEvery:
		t.since = 0
		return t.tracker.AppendState(b)
	}
	if t.since++; !followed {
		return b
	}
	return t.tracker.AppendUsed(b)
}

// separates says whether objects are not followed from before a change to after it.
func separates(before, after *wire.Configured) bool {
	return before.Track != after.Track || before.Engine.Model != after.Engine.Model
}

// recall brings the tracker to where it was after a result.
func (t *tracking) recall(ctx context.Context, last Line, r *replay, read func(ctx context.Context, after uint64, limit int) ([]Line, error)) error {
	if len(r.track) > 0 && track.IsState(r.track) {
		t.on = true
		return t.tracker.Restore(r.track)
	}
	before := last.Offset - 1
	lines, err := read(ctx, before-min(before, stateEvery), int(min(before, stateEvery)))
	if err != nil {
		return err
	}
	for _, l := range append(lines, last) {
		if l.Type != wire.TypeDetections {
			continue
		}
		if err := t.again(l); err != nil {
			return err
		}
	}
	return nil
}

// again does what was done when a result was recorded. Results before the first state
// are passed over.
func (t *tracking) again(l Line) error {
	var r replay
	if err := r.parse(l.Replay); err != nil {
		return err
	}
	switch {
	case len(r.track) == 0:
		return nil
	case track.IsState(r.track):
		t.on = true
		return t.tracker.Restore(r.track)
	case !t.on:
		return nil
	}
	var m wire.Detections
	if err := json.Unmarshal(l.Message, &m); err != nil {
		return fmt.Errorf("session: result in the log: %w", err)
	}
	seen := make([]infer.Detection, len(m.Detections))
	for i, d := range m.Detections {
		seen[i] = infer.Detection{Class: d.Class, Box: infer.Box{
			X: float32(d.Box[0]), Y: float32(d.Box[1]), W: float32(d.Box[2]), H: float32(d.Box[3]),
		}}
	}
	return t.tracker.Again(time.Duration(m.PTS), seen, r.track)
}

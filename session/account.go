package session

import (
	"detections/media"
	"detections/session/wire"
)

type dropReason uint8

// Why a decoded frame was not inferred.
const (
	superseded  dropReason = iota // live: a newer frame came before this one was taken
	stale                         // live: it was older than the session's budget before it was taken
	cancelled                     // the session was stopped before this one was taken
	notRecorded                   // live: it was on its way when the hub ended
	rateLimited                   // live: its client had all the frames of this second
	dropReasons
)

var dropNames = [dropReasons]string{"superseded", "stale", "cancelled", "not_recorded", "rate_limited"}

// engineError is the reason of frames that the engine could not infer.
const engineError = "engine_error"

// counts are what became of every frame.
type counts struct {
	decode   media.DecodeStats // as of the last output
	inferred int64
	failed   int64
	dropped  [dropReasons]int64
	refused  int64 // units of a camera that its client had no bytes left for
}

// settle counts an entry that leaves the queue.
func (c *counts) settle(e *entry) {
	switch {
	case !e.isFrame():
	case e.result.Err != nil:
		c.failed++
	default:
		c.inferred++
	}
}

// accounting is the sum so far, with pending frames between decoder and journal.
func (c *counts) accounting(pending int64) wire.Accounting {
	a := wire.Accounting{
		Decoded: c.decode.Decoded, Skipped: c.decode.Decoded - c.decode.Picked, Inferred: c.inferred, Pending: pending,
		Concealed: c.decode.Concealed,
		Dropped:   make(map[string]int64, dropReasons),
		Failed:    map[string]int64{engineError: c.failed},
		Undecoded: map[string]int64{
			"corrupt": c.decode.Undecoded.Corrupt, "no_keyframe": c.decode.Undecoded.NoKeyframe,
			"lost": c.decode.Undecoded.Lost, "late": c.decode.Undecoded.Late,
			dropNames[rateLimited]: c.refused,
		},
	}
	for why, n := range c.dropped {
		a.Dropped[dropNames[why]] = n
	}
	return a
}

// accounting is what became of every frame of the session. s.mu is held.
func (s *Session) accounting() wire.Accounting {
	pending := s.left
	for _, e := range s.queue {
		if e.isFrame() {
			pending++
		}
	}
	return s.count.accounting(pending)
}

// NoFrames is the accounting of nothing, with every reason at zero.
func NoFrames() wire.Accounting { return (&counts{}).accounting(0) }

package media

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Job is what a Decoder is asked to do.
type Job struct {
	// Views to deliver of every picked frame; at least one.
	Views []View
	// Sample is the rule in force from From on.
	Sample Sample
	// Picture says that the input is one still picture (POST /detect).
	Picture bool
	// Live says that the input is a live feed: never wait for an index.
	Live bool
	// MaxAge is how far the decoder of live Units may be behind the newest before it
	// goes on at the latest key unit. Of pictures that need no other, only the newest
	// counts. 0: it decodes everything.
	MaxAge time.Duration
	// Container names the format when the bytes cannot be recognised by
	// themselves (raw streams); empty: recognise it. See Containers.
	Container string
	// FPS is the frame rate of a raw stream without time stamps; 0: 25.
	FPS float64
	// Base is the byte of the file at which the input begins. What Grow tells and
	// FrameInfo.Input says are counted from there.
	Base int64
	// Resume goes on where another decoder of the same input and the same job was:
	// the first frame is the first one picked after this checkpoint. The stream is
	// described again before it. nil: from the beginning. Still pictures cannot.
	Resume *Checkpoint
	// From is where the rule came into force: no picture with a smaller index is
	// picked, and no other rule comes into force before it. With Resume, a rule
	// from after the checkpoint begins there; that of the checkpoint's frame just
	// goes on.
	From int64
	// Limits bound the input; those that are 0 are the default.
	Limits Limits
}

// MaxViews bounds the views of a job.
const MaxViews = 8

// Validate says what is wrong with a job.
func (j Job) Validate() error {
	if len(j.Views) < 1 || len(j.Views) > MaxViews {
		return fmt.Errorf("job with %d views: 1 to %d can be asked for", len(j.Views), MaxViews)
	}
	for _, v := range j.Views {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	if !(j.FPS >= 0 && j.FPS <= MaxSampleFPS) {
		return fmt.Errorf("job with %v frames per second: at most %d", j.FPS, MaxSampleFPS)
	}
	if j.Base < 0 {
		return fmt.Errorf("job that begins at byte %d", j.Base)
	}
	if j.Picture && j.Resume != nil {
		return errors.New("job that resumes a still picture")
	}
	return errors.Join(j.Limits.Validate(), j.Sample.Validate())
}

// Picker is what picks the first frames of the job, from the index From on.
func (j Job) Picker() Picker {
	if r := j.Resume; r != nil && j.From <= r.Index {
		return ResumePicker(j.Sample, r.Start, r.PTS)
	}
	return NewPicker(j.Sample)
}

// Decoder is a running job. Grow, Configure and Close may be called from any
// goroutine; Next from one at a time.
type Decoder interface {
	// Grow tells that the input now has size bytes, and whether that is all.
	Grow(size int64, final bool)
	// Configure changes the sampling rule from the next decoded frame on; the rule
	// that is in force already just goes on. The
	// change comes back in order as an Output with the same id.
	Configure(id uint32, rule Sample)
	// Next returns what comes out next, or io.EOF after the last output, or an
	// *Error. After an error or EOF the counters of Stats are final.
	Next(ctx context.Context) (Output, error)
	// Stats returns the cumulative counters as of the last output.
	Stats() DecodeStats
	// Close ends the job at once. Frames that are still held stay valid until released.
	Close() error
}

// Output is one thing out of a Decoder: exactly one field is set.
type Output struct {
	Frame   *Frame
	Stream  *StreamInfo
	Rule    *RuleChange
	Waiting Waiting
}

// RuleChange says from which frame a new sampling rule holds.
type RuleChange struct {
	ID   uint32
	From int64
}

// Waiting names what a decoder waits for before it can begin.
type Waiting string

// WaitingForIndex means that an MP4 whose index is behind the media data cannot be decoded
// before the index has arrived.
const WaitingForIndex Waiting = "waiting_for_index"

// StreamInfo is what was recognised of the input.
type StreamInfo struct {
	Container string        `json:"container"`
	Codec     string        `json:"codec"`
	Width     int           `json:"width"`
	Height    int           `json:"height"`
	FrameRate float64       `json:"frame_rate,omitempty"`
	Duration  time.Duration `json:"duration,omitempty"`
	Rotation  int           `json:"rotation,omitempty"` // degrees clockwise: 0, 90, 180, 270
}

// DecodeStats are cumulative counters of one job.
type DecodeStats struct {
	// Decoded pictures, picked or not.
	Decoded int64
	// Picked pictures, delivered as frames.
	Picked int64
	// Concealed pictures, among the decoded: parts of them were lost and guessed.
	Concealed int64
	// Undecoded access units, by reason.
	Undecoded Undecoded
}

// Plus adds the counters of another job.
func (s DecodeStats) Plus(o DecodeStats) DecodeStats {
	return DecodeStats{
		Decoded: s.Decoded + o.Decoded, Picked: s.Picked + o.Picked, Concealed: s.Concealed + o.Concealed,
		Undecoded: Undecoded{
			Corrupt:    s.Undecoded.Corrupt + o.Undecoded.Corrupt,
			NoKeyframe: s.Undecoded.NoKeyframe + o.Undecoded.NoKeyframe,
			Lost:       s.Undecoded.Lost + o.Undecoded.Lost,
			Late:       s.Undecoded.Late + o.Undecoded.Late,
		},
	}
}

// Undecoded counts access units that gave no picture.
type Undecoded struct {
	Corrupt    int64 `json:"corrupt"`     // the decoder refused it
	NoKeyframe int64 `json:"no_keyframe"` // it came before the first key frame
	Lost       int64 `json:"lost"`        // live: it did not come whole, or refers to one that did not
	Late       int64 `json:"late"`        // live: the decoder was behind, and went on with a newer one
}

// Total is the sum over all reasons.
func (u Undecoded) Total() int64 { return u.Corrupt + u.NoKeyframe + u.Lost + u.Late }

// The kinds of failure of a decoder; an *Error wraps one of them.
var (
	ErrUnsupported = errors.New("unsupported media") // not a container or codec that is offered
	ErrDecode      = errors.New("decoding failed")   // recognised, but no usable picture in it, or the worker died
	ErrCrashed     = fmt.Errorf("%w: its process died", ErrDecode)
	ErrStalled     = errors.New("decoding stalled")      // no progress although there was input
	ErrTooLarge    = errors.New("media too large")       // above a limit on pixels, rate, streams or memory
	ErrTruncated   = errors.New("media cut short")       // its own index promises more than there is
	ErrInput       = errors.New("input cannot be read")  // our own storage failed, not the client's bytes
	ErrStarting    = errors.New("decoder did not start") // our own process could not be started
)

// Error is why a decoder ended, in words for the client.
type Error struct {
	Kind    error // one of the Err… values above
	Message string
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

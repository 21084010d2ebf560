package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"time"

	"detections/media"
	"detections/media/worker/sandbox"
)

// protocol is the first byte of every message. Parent and process are the same
// binary, so another number is damage, not age.
const protocol = 1

// Bounds of a message, in bytes.
const (
	maxMessage = 16 << 10 // from the process
	maxJob     = 64 << 10 // to the process
)

// The second byte of every message: what it is.
const (
	// To the process.
	msgSetup = 'S' // JSON of a setup, before anything else
	msgJob   = 'J' // JSON of a job, with the input and the ring as file descriptors
	msgFeed  = 'f'

	// From the process.
	msgHello = 'H' // JSON of a sandbox.Report: ready for a job
	msgFrame = 'F'
	msgRule  = 'R'
	msgNote  = 'N' // JSON of a note
	msgEnd   = 'E' // JSON of an end; nothing comes after it
	msgLog   = 'L' // text
)

// setup is what a process may use.
type setup struct {
	Mode   sandbox.Mode
	Memory int64
	CPU    time.Duration // for one step
}

// job is what a process is asked to do.
type job struct {
	media.Job
	Slots    int
	SlotSize int
}

// feed tells a process everything that changed since the last one.
type feed struct {
	size     int64
	final    bool
	released uint64 // a bit for each slot
	rule     bool
	id       uint32
	sample   media.Sample
}

const feedLen = 2 + 1 + 1 + 4 + 8 + 8 + 8 + 8

// All numbers are little endian.
var le = binary.LittleEndian

func (f *feed) append(b []byte) []byte {
	var flags byte
	if f.final {
		flags |= 1
	}
	if f.rule {
		flags |= 2
	}
	b = append(b, protocol, msgFeed, flags, 0)
	b = le.AppendUint32(b, f.id)
	b = le.AppendUint64(b, uint64(f.size))
	b = le.AppendUint64(b, f.released)
	b = le.AppendUint64(b, math.Float64bits(f.sample.FPS))
	return le.AppendUint64(b, uint64(f.sample.Every))
}

func parseFeed(b []byte) (f feed, err error) {
	if len(b) != feedLen {
		return f, errMessage
	}
	f.final, f.rule = b[2]&1 != 0, b[2]&2 != 0
	f.id = le.Uint32(b[4:])
	f.size = int64(le.Uint64(b[8:]))
	f.released = le.Uint64(b[16:])
	f.sample.FPS = math.Float64frombits(le.Uint64(b[24:]))
	f.sample.Every = int(le.Uint64(b[32:]))
	return f, nil
}

// frame says that a slot holds a picture.
type frame struct {
	slot          int
	key           bool
	width, height int
	aspect        float32
	input         int64
	decode        time.Duration
	ready         int64 // CLOCK_MONOTONIC, which all processes of a machine share
	stamp         media.Stamp
	at            media.Checkpoint // has the index, the times and the counters too
}

const (
	statsLen = 7 * 8
	frameLen = 2 + 1 + 1 + 4 + 4 + 4 + 3*8 + media.StampLen // and the checkpoint
	ruleLen  = 2 + 2 + 4 + 8 + statsLen
)

func (f *frame) append(b []byte) []byte {
	var flags byte
	if f.key {
		flags = 1
	}
	b = append(b, protocol, msgFrame, byte(f.slot), flags)
	b = le.AppendUint32(b, uint32(f.width))
	b = le.AppendUint32(b, uint32(f.height))
	b = le.AppendUint32(b, math.Float32bits(f.aspect))
	b = le.AppendUint64(b, uint64(f.input))
	b = le.AppendUint64(b, uint64(f.decode))
	b = le.AppendUint64(b, uint64(f.ready))
	b, _ = f.stamp.AppendBinary(b) // never fails
	b, _ = f.at.AppendBinary(b)    // never fails
	return b
}

func parseFrame(b []byte) (f frame, err error) {
	if len(b) < frameLen {
		return f, errMessage
	}
	f.slot, f.key = int(b[2]), b[3]&1 != 0
	f.width, f.height = int(le.Uint32(b[4:])), int(le.Uint32(b[8:]))
	f.aspect = math.Float32frombits(le.Uint32(b[12:]))
	f.input = int64(le.Uint64(b[16:]))
	f.decode = time.Duration(le.Uint64(b[24:]))
	f.ready = int64(le.Uint64(b[32:]))
	if f.stamp, err = media.ParseStamp(b[40:]); err != nil {
		return f, err
	}
	return f, f.at.UnmarshalBinary(b[frameLen:])
}

func appendRule(b []byte, r media.RuleChange, st media.DecodeStats) []byte {
	b = append(b, protocol, msgRule, 0, 0)
	b = le.AppendUint32(b, r.ID)
	b = le.AppendUint64(b, uint64(r.From))
	return appendStats(b, st)
}

func parseRule(b []byte) (r media.RuleChange, st media.DecodeStats, err error) {
	if len(b) != ruleLen {
		return r, st, errMessage
	}
	return media.RuleChange{ID: le.Uint32(b[4:]), From: int64(le.Uint64(b[8:]))}, parseStats(b[16:]), nil
}

func appendStats(b []byte, st media.DecodeStats) []byte {
	for _, n := range []int64{st.Decoded, st.Picked, st.Undecoded.Corrupt, st.Undecoded.NoKeyframe, st.Concealed, st.Undecoded.Lost, st.Undecoded.Late} {
		b = le.AppendUint64(b, uint64(n))
	}
	return b
}

func parseStats(b []byte) (st media.DecodeStats) {
	st.Decoded, st.Picked = int64(le.Uint64(b)), int64(le.Uint64(b[8:]))
	st.Undecoded.Corrupt, st.Undecoded.NoKeyframe = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	st.Concealed, st.Undecoded.Lost, st.Undecoded.Late = int64(le.Uint64(b[32:])), int64(le.Uint64(b[40:])), int64(le.Uint64(b[48:]))
	return st
}

// note is a rare output.
type note struct {
	Stream  *media.StreamInfo `json:",omitempty"`
	Waiting media.Waiting     `json:",omitempty"`
	Stats   media.DecodeStats
}

// end is how a job ended. Kind is empty after the last picture.
type end struct {
	Kind    string `json:",omitempty"`
	Message string `json:",omitempty"`
	Stats   media.DecodeStats
}

// kinds are the errors that a process can report, by name.
var kinds = map[string]error{
	"unsupported": media.ErrUnsupported,
	"decode":      media.ErrDecode,
	"too_large":   media.ErrTooLarge,
	"truncated":   media.ErrTruncated,
	"input":       media.ErrInput,
	"starting":    media.ErrStarting,
}

func kindName(err error) string {
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			return name
		}
	}
	return "decode"
}

// maxText bounds the words that a process can put into an error or the log.
const maxText = 1000

func appendJSON(b []byte, kind byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(append(b, protocol, kind), text...), err
}

// errMessage is a message that no honest process sends.
var errMessage = errors.New("message of the wrong form")

package track

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"detections/infer"
)

// The first byte of what is encoded here.
const (
	stateForm = 1
	usedForm  = 2
)

var errState = errors.New("track: not the state of a tracker")

// AppendState encodes everything that the next Update depends on.
func (t *Tracker) AppendState(b []byte) []byte {
	b = append(b, stateForm)
	b = binary.AppendVarint(b, t.last)
	b = binary.AppendVarint(b, int64(t.at))
	b = binary.AppendVarint(b, int64(len(t.tracks)))
	for i := range t.tracks {
		o := &t.tracks[i]
		for _, n := range []int64{o.number, int64(o.class), int64(o.since), int64(o.missed)} {
			b = binary.AppendVarint(b, n)
		}
		for _, f := range o.motion.numbers() {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*f))
		}
	}
	return b
}

// AppendUsed encodes what must be known of the last Update, beside what clients are
// told, to do it again: see Again.
func (t *Tracker) AppendUsed(b []byte) []byte {
	b = append(b, usedForm)
	b = binary.AppendVarint(b, int64(len(t.used)))
	for _, d := range t.used {
		b = binary.AppendVarint(b, int64(d.Class))
		for _, v := range []float32{d.Box.X, d.Box.Y, d.Box.W, d.Box.H} {
			b = binary.AppendVarint(b, int64(math.RoundToEven(float64(v)*100)))
		}
	}
	return b
}

// IsState says whether b was made by AppendState.
func IsState(b []byte) bool { return len(b) > 0 && b[0] == stateForm }

// Restore is the opposite of AppendState.
func (t *Tracker) Restore(b []byte) error {
	r := reader{b: b}
	if r.byte() != stateForm {
		return errState
	}
	s := Tracker{last: r.varint(), at: time.Duration(r.varint())}
	n := r.varint()
	if n < 0 || n > maxTracks {
		return errState
	}
	for range n {
		o := object{number: r.varint(), class: int(r.varint()), since: time.Duration(r.varint()), missed: int(r.varint())}
		for _, f := range o.motion.numbers() {
			*f = r.float()
		}
		s.tracks = append(s.tracks, o)
	}
	if r.failed || len(r.b) > 0 {
		return errState
	}
	*t = s
	return nil
}

// Again is an Update that was done before: with what clients were told and what
// AppendUsed gave then.
func (t *Tracker) Again(at time.Duration, seen []infer.Detection, used []byte) error {
	r := reader{b: used}
	if r.byte() != usedForm {
		return errState
	}
	n := r.varint()
	if n < 0 || n > int64(len(used)) {
		return errState
	}
	faint := make([]infer.Detection, n)
	for i := range faint {
		d := &faint[i]
		d.Class = int(r.varint())
		for _, v := range []*float32{&d.Box.X, &d.Box.Y, &d.Box.W, &d.Box.H} {
			*v = float32(float64(r.varint()) / 100)
		}
	}
	if r.failed || len(r.b) > 0 {
		return errState
	}
	t.Update(at, seen, faint)
	return nil
}

// reader takes values off the front of b.
type reader struct {
	b      []byte
	failed bool // there was not enough
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.failed = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.failed, n = true, 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.failed = true
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

package session

import (
	"encoding/binary"
	"errors"

	"detections/media"
)

// replay is what going on after a result needs beside what clients see.
type replay struct {
	configured uint64 // offset of the configured event in force
	count      counts // of this result and those before it; without decode
	track      []byte // of the tracker; empty: objects are not followed
	at         media.Checkpoint
}

// The first byte of an encoded replay says its form. Form 2 had nothing of the tracker,
// form 1 one reason less, too.
const (
	replayForm = 3
	form2      = 2
	form1      = 1
	endForm    = 1
	form1Lacks = 1 // numbers
)

func (r *replay) numbers() []*int64 {
	all := []*int64{&r.count.inferred, &r.count.failed}
	for i := range r.count.dropped {
		all = append(all, &r.count.dropped[i])
	}
	return all
}

// append encodes it as a form, numbers of variable length, the tracker's part with its
// length, and the checkpoint.
func (r *replay) append(b []byte) []byte {
	b = append(b, replayForm)
	b = binary.AppendUvarint(b, r.configured)
	for _, n := range r.numbers() {
		b = binary.AppendUvarint(b, uint64(*n))
	}
	b = binary.AppendUvarint(b, uint64(len(r.track)))
	b = append(b, r.track...)
	b, _ = r.at.AppendBinary(b) // numbers only: it cannot fail
	return b
}

var errReplay = errors.New("session: the log holds a result without a valid replay record")

func (r *replay) parse(b []byte) error {
	if len(b) == 0 || b[0] < form1 || b[0] > replayForm {
		return errReplay
	}
	form, numbers := b[0], r.numbers()
	if form == form1 {
		numbers = numbers[:len(numbers)-form1Lacks]
	}
	b = b[1:]
	next := func() (n uint64) {
		n, size := binary.Uvarint(b)
		b = b[max(0, size):]
		return n
	}
	r.configured = next()
	for _, n := range numbers {
		*n = int64(next())
	}
	if form == replayForm {
		n := next()
		if n > uint64(len(b)) {
			return errReplay
		}
		r.track, b = b[:n], b[n:]
	}
	if err := r.at.UnmarshalBinary(b); err != nil {
		return errors.Join(errReplay, err)
	}
	r.count.decode = r.at.Stats
	return nil
}

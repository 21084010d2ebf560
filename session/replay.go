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

// The first byte of an encoded replay says its form. Form 4 has nothing of refused units;
// it is still written where there are none, for a former version that may come back. Form 3
// had one reason less, form 2 nothing of the tracker either, and form 1 one more reason less.
const (
	replayForm = 5
	form4      = 4
	form3      = 3
	form1      = 1
	endForm    = 1
)

// lacking is how many numbers a form lacks.
var lacking = [replayForm + 1]int{1: 3, 2: 2, 3: 2, 4: 1}

func (r *replay) numbers() []*int64 {
	all := []*int64{&r.count.inferred, &r.count.failed}
	for i := range r.count.dropped {
		all = append(all, &r.count.dropped[i])
	}
	return append(all, &r.count.refused)
}

// append encodes it as a form, numbers of variable length, the tracker's part with its
// length, and the checkpoint.
func (r *replay) append(b []byte) []byte {
	form, numbers := byte(replayForm), r.numbers()
	if r.count.refused == 0 {
		form = form4
	}
	b = append(b, form)
	b = binary.AppendUvarint(b, r.configured)
	for _, n := range numbers[:len(numbers)-lacking[form]] {
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
	numbers = numbers[:len(numbers)-lacking[form]]
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
	if form >= form3 {
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

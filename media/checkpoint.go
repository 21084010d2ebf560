package media

import (
	"encoding/binary"
	"errors"
	"time"
)

// Checkpoint is what another decoder of the same input needs to go on after a frame
// as if there had been only one: the same frames with the same indices, times and
// pixels, and at the end the same counters.
type Checkpoint struct {
	// Index and PTS are those of the frame. Picking goes on after it.
	Index int64
	PTS   time.Duration
	// KeyPTS is the time of the key packet where decoding begins again.
	KeyPTS time.Duration
	// Stats are the counters when the frame came out.
	Stats DecodeStats
}

// checkpointForm is the first byte of an encoded Checkpoint.
const checkpointForm = 1

// numbers are all fields, in the order of the encoded form.
func (c *Checkpoint) numbers() []*int64 {
	return []*int64{
		&c.Index, (*int64)(&c.PTS), (*int64)(&c.KeyPTS), &c.Stats.Decoded, &c.Stats.Picked, &c.Stats.Concealed,
		&c.Stats.Undecoded.Corrupt, &c.Stats.Undecoded.NoKeyframe,
	}
}

// AppendBinary implements encoding.BinaryAppender.
func (c Checkpoint) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, checkpointForm)
	for _, n := range c.numbers() {
		b = binary.AppendVarint(b, *n)
	}
	return b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (c *Checkpoint) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != checkpointForm {
		return errCheckpoint
	}
	b = b[1:]
	for _, n := range c.numbers() {
		v, size := binary.Varint(b)
		if size <= 0 {
			return errCheckpoint
		}
		*n, b = v, b[size:]
	}
	if len(b) > 0 {
		return errCheckpoint
	}
	return nil
}

var errCheckpoint = errors.New("media: not an encoded checkpoint")

package media

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"time"
)

// Checkpoint is what another decoder of the same input needs to go on after a frame
// as if there had been only one: the same frames with the same indices, times and
// pixels, and at the end the same counters. It reads the input from the beginning,
// but decodes only from a key packet shortly before the frame.
//
// Where the input is damaged, lost parts may be guessed in another way: a guess
// depends on what a decoder has in memory.
type Checkpoint struct {
	// Index and PTS are those of the frame. Picking goes on after it.
	Index int64
	PTS   time.Duration
	// KeyPTS is FrameInfo.KeyPTS.
	KeyPTS time.Duration
	// Stats are the counters when the frame came out.
	Stats DecodeStats

	// The rest is of use to decoders only. Packets are those of the video stream,
	// numbered from 1.

	Key    int64 // where decoding begins again
	Delay  int64 // how many pictures a decoder of H.264 held back when it came there
	Packet int64 // where the frame came from
	Nth    int64 // pictures that came from the same packet before the frame
	Sent   int64 // packets that were read until the frame came out
	// Sum is a checksum of some of the frame's pixels: whether decoding did begin
	// well at Key.
	Sum uint32

	Pictures int64         // that came from Sent packets
	Early    int64         // those of them from packets before the first key packet
	Fields   bool          // a packet need not be a picture
	Start    time.Duration // Picker.Start
	Since    int64         // packets that were read when the rule had begun
	Skipped  uint64        // bit n: packet Sent-n was not decoded, and its picture comes after the frame
	Due      uint64        // bit n: packet Sent-n has a time, and no picture yet
	Rate     float64       // frames per second, where nothing else gives pictures their times
}

// checkpointForm is the first byte of an encoded Checkpoint. The form before it had no
// access units that were lost or late.
const (
	checkpointForm = 2
	formerForm     = 1
)

// code passes all fields through a coder, in the order of the encoded form.
func (c *Checkpoint) code(b *coder) {
	b.number(&c.Index, 0)
	b.number((*int64)(&c.PTS), 0)
	b.number((*int64)(&c.KeyPTS), int64(c.PTS))
	b.number(&c.Stats.Decoded, c.Index+1)
	b.number(&c.Stats.Picked, 0)
	b.number(&c.Stats.Concealed, 0)
	b.number(&c.Stats.Undecoded.Corrupt, 0)
	b.number(&c.Stats.Undecoded.NoKeyframe, 0)
	if !b.former {
		b.number(&c.Stats.Undecoded.Lost, 0)
		b.number(&c.Stats.Undecoded.Late, 0)
	}
	b.number(&c.Key, 0)
	b.number(&c.Delay, 0)
	b.number(&c.Packet, c.Key)
	b.number(&c.Nth, 0)
	b.number(&c.Sent, c.Packet)
	b.sum(&c.Sum)
	b.number(&c.Pictures, c.Stats.Decoded)
	b.number(&c.Early, 0)
	b.flag(&c.Fields)
	b.number((*int64)(&c.Start), 0)
	b.number(&c.Since, 0)
	b.mask(&c.Skipped)
	b.mask(&c.Due)
	b.rate(&c.Rate)
}

// AppendBinary implements encoding.BinaryAppender.
func (c Checkpoint) AppendBinary(b []byte) ([]byte, error) {
	w := coder{b: append(b, checkpointForm)}
	c.code(&w)
	return w.b, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (c *Checkpoint) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != checkpointForm && b[0] != formerForm {
		return errCheckpoint
	}
	r := coder{b: b[1:], reads: true, former: b[0] == formerForm}
	c.code(&r)
	if r.bad || len(r.b) > 0 {
		return errCheckpoint
	}
	return nil
}

var errCheckpoint = errors.New("media: not an encoded checkpoint")

// coder appends fields to b, or takes them from there. Small numbers are short.
type coder struct {
	b      []byte
	reads  bool
	former bool // b has the form before this one
	bad    bool // b did not hold what was to be read
}

// number codes a number that is likely to be near another one.
func (c *coder) number(n *int64, near int64) {
	if !c.reads {
		c.b = binary.AppendVarint(c.b, *n-near)
		return
	}
	v, size := binary.Varint(c.b)
	*n = v + near
	c.skip(size)
}

func (c *coder) mask(n *uint64) {
	if !c.reads {
		c.b = binary.AppendUvarint(c.b, *n)
		return
	}
	v, size := binary.Uvarint(c.b)
	*n = v
	c.skip(size)
}

// rate codes a number whose last bits are likely to be 0.
func (c *coder) rate(x *float64) {
	n := bits.ReverseBytes64(math.Float64bits(*x))
	c.mask(&n)
	*x = math.Float64frombits(bits.ReverseBytes64(n))
}

func (c *coder) flag(x *bool) {
	var n uint64
	if *x {
		n = 1
	}
	c.mask(&n)
	*x = n != 0
}

// sum codes a number of which any is as likely as another.
func (c *coder) sum(n *uint32) {
	if !c.reads {
		c.b = binary.LittleEndian.AppendUint32(c.b, *n)
		return
	}
	if len(c.b) >= 4 {
		*n = binary.LittleEndian.Uint32(c.b)
	}
	c.skip(4)
}

// skip goes on behind what was read.
func (c *coder) skip(size int) {
	if c.bad = c.bad || size <= 0 || size > len(c.b); c.bad {
		c.b = nil
		return
	}
	c.b = c.b[size:]
}

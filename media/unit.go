package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Units is the container that live doors make themselves: access units one after the
// other, each behind a header of its own. It is not offered to clients.
const Units = "units"

// Unit is an access unit: one encoded picture with what the door knows of it.
type Unit struct {
	Codec    string // one of UnitCodecs
	PTS      time.Duration
	Key      bool  // decoding can begin here
	Rotation int   // degrees clockwise by which it is to be turned: 0, 90, 180, 270
	Lost     int64 // access units before it that did not come whole, or refer to such
	Stamp    Stamp
	Data     []byte
}

// Stamp is what a live sender said of a picture, and how it came; it comes back with its
// result.
type Stamp struct {
	// Jitter is how long the door waited for the rest of the picture, in µs.
	Jitter    uint32
	RTP       uint32 // RTP time stamp
	HasRTP    bool
	Client    float64 // the sender's own time, ms
	HasClient bool
	Seq       int64 // the sender's own number
	HasSeq    bool
}

// UnitCodecs are the codecs of units, by FFmpeg's names.
var UnitCodecs = []string{"h264", "vp8", "vp9", "av1", "mjpeg"}

// Bounds of a unit.
const (
	UnitHeader = 48                // bytes
	MaxUnit    = 16 << 20          // bytes of Data
	StampLen   = 1 + 4 + 8 + 8 + 4 // bytes of an encoded Stamp
)

var unitMagic = []byte("DAU1")

// errUnit is damage: the hub writes the headers, clients only what is between.
var errUnit = errors.New("media: not an access unit with its header")

var le = binary.LittleEndian

// AppendUnit appends a unit to b as it stands in the input.
func AppendUnit(b []byte, u *Unit) ([]byte, error) {
	codec := slices.Index(UnitCodecs, u.Codec)
	if codec < 0 || len(u.Data) > MaxUnit || u.Lost < 0 || u.Lost > math.MaxUint32 {
		return b, fmt.Errorf("access unit of %d bytes of %.20q after %d lost ones", len(u.Data), u.Codec, u.Lost)
	}
	key := byte(0)
	if u.Key {
		key = 1
	}
	b = append(b, unitMagic...)
	b = append(b, byte(codec), key, byte(u.Rotation/90&3))
	b = le.AppendUint32(b, uint32(len(u.Data)))
	b = le.AppendUint32(b, uint32(u.Lost))
	b = le.AppendUint64(b, uint64(u.PTS))
	b = u.Stamp.append(b)
	return append(b, u.Data...), nil
}

// ParseUnit reads a header of UnitHeader bytes. size is how many bytes of Data follow.
func ParseUnit(b []byte) (u Unit, size int, err error) {
	if len(b) < UnitHeader || string(b[:4]) != string(unitMagic) || int(b[4]) >= len(UnitCodecs) {
		return u, 0, errUnit
	}
	u.Codec, u.Key, u.Rotation = UnitCodecs[b[4]], b[5]&1 != 0, int(b[6]&3)*90
	size, u.Lost = int(le.Uint32(b[7:])), int64(le.Uint32(b[11:]))
	u.PTS = time.Duration(le.Uint64(b[15:]))
	if size > MaxUnit {
		return u, 0, errUnit
	}
	u.Stamp, err = ParseStamp(b[23:])
	return u, size, err
}

// AppendBinary implements encoding.BinaryAppender, in StampLen bytes.
func (s Stamp) AppendBinary(b []byte) ([]byte, error) { return s.append(b), nil }

func (s Stamp) append(b []byte) []byte {
	var has byte
	for i, h := range []bool{s.HasRTP, s.HasClient, s.HasSeq} {
		if h {
			has |= 1 << i
		}
	}
	b = append(b, has)
	b = le.AppendUint32(b, s.RTP)
	b = le.AppendUint64(b, math.Float64bits(s.Client))
	b = le.AppendUint64(b, uint64(s.Seq))
	return le.AppendUint32(b, s.Jitter)
}

// ParseStamp is the opposite of AppendBinary. A time that is no number is damage.
func ParseStamp(b []byte) (s Stamp, err error) {
	if len(b) < StampLen {
		return s, errUnit
	}
	s.HasRTP, s.HasClient, s.HasSeq = b[0]&1 != 0, b[0]&2 != 0, b[0]&4 != 0
	s.RTP, s.Client, s.Seq = le.Uint32(b[1:]), math.Float64frombits(le.Uint64(b[5:])), int64(le.Uint64(b[13:]))
	s.Jitter = le.Uint32(b[21:])
	if math.IsNaN(s.Client) || math.IsInf(s.Client, 0) {
		return s, errUnit
	}
	return s, nil
}

package session

import (
	"encoding/binary"
	"time"
)

// Moment is a point in time that another process can hold against its own. The wall
// clock may be set at any time, by hours; what the machine counts since it was started
// goes on as it should, but only until the next start.
type Moment struct {
	Wall time.Time
	Boot uint64        // which start of the machine; 0: not known
	Up   time.Duration // since then, sleep included
}

// Age is how long ago an earlier moment was, never less than nothing.
func (m Moment) Age(earlier Moment) time.Duration {
	age := m.Wall.Sub(earlier.Wall)
	if m.Boot != 0 && m.Boot == earlier.Boot {
		age = m.Up - earlier.Up
	}
	return max(0, age)
}

// now is this moment, by the configuration's clock.
func (c *Config) now() Moment {
	if c.Clock == nil {
		return Moment{Wall: time.Now()}
	}
	return c.Clock()
}

// endReplay is what is kept beside the end event: when it was.
func endReplay(at Moment) []byte {
	b := binary.AppendVarint([]byte{endForm}, at.Wall.UnixMilli())
	b = binary.LittleEndian.AppendUint64(b, at.Boot)
	return binary.AppendVarint(b, at.Up.Milliseconds())
}

// endedAt is the opposite of endReplay. What earlier versions wrote has the wall
// clock's time only. ok: it is there.
func endedAt(b []byte) (at Moment, ok bool) {
	if len(b) < 2 || b[0] != endForm {
		return at, false
	}
	ms, n := binary.Varint(b[1:])
	at.Wall = time.UnixMilli(ms)
	if b = b[1+max(0, n):]; len(b) > 8 {
		at.Boot = binary.LittleEndian.Uint64(b)
		ms, _ = binary.Varint(b[8:])
		at.Up = time.Duration(ms) * time.Millisecond
	}
	return at, true
}

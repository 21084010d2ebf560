package session

import (
	"time"

	"detections/media"
	"detections/session/wire"
)

// cameraSync is how often the media of a camera is made durable: nobody waits for that,
// and who comes back goes on with new pictures. Each time costs as much as some frames.
// Of a machine that loses its power, so much may be missing for pictures of results.
const cameraSync = 500 * time.Millisecond

// takesUnits says whether a door cuts the input into access units.
func (s *Session) takesUnits() bool { return s.units }

// TakesPictures says whether every message of the feeder is one JPEG picture.
func (s *Session) TakesPictures() bool {
	return s.takesUnits() && s.cfg.Start.Media.Container == media.JPEG
}

// TakesRTP says whether the input is what a WebRTC door makes.
func (s *Session) TakesRTP() bool { return s.takesUnits() && !s.TakesPictures() }

// keptUnit bounds the memory that is kept for the next unit, in bytes.
const keptUnit = 64 << 10

// WriteUnit takes the next access unit: all of it, or nothing with a *wire.Error. One that
// a camera's client has no bytes left for is counted and left out. One goroutine at a time
// may call it.
func (f *Feeder) WriteUnit(u *media.Unit) error {
	if !f.in.s.takesUnits() {
		return wire.Errorf(wire.Conflict, "the media of this session is a stream of bytes, not of pictures")
	}
	if len(u.Data) > media.MaxUnit {
		return wire.Errorf(wire.TooLarge, "a picture has at most %d bytes, got %d", media.MaxUnit, len(u.Data))
	}
	next := *u
	next.Lost += f.refused.lost
	b, err := media.AppendUnit(f.unit[:0], &next)
	if err != nil {
		return err
	}
	if cap(b) <= keptUnit {
		f.unit = b
	}
	_, err = f.write(b, &next)
	return err
}

package sessiontest

import (
	"time"

	"detections/media"
)

// The decoder also reads media.Units: a key unit is a 'K', any other a 'p', whatever
// is in it.

// whole says whether the next unit is there. d.mu is held.
func (d *decoder) whole() (bool, error) {
	if d.job.Container != media.Units {
		return d.size >= d.at+d.unit, nil
	}
	if d.size < d.at+media.UnitHeader {
		return false, nil
	}
	var head [media.UnitHeader]byte
	if _, err := d.input.ReadAt(head[:], d.job.Base+d.at); err != nil {
		return false, &media.Error{Kind: media.ErrInput, Message: err.Error()}
	}
	u, size, err := media.ParseUnit(head[:])
	if err != nil {
		return false, &media.Error{Kind: media.ErrDecode, Message: err.Error()}
	}
	d.current, d.length = u, media.UnitHeader+int64(size)
	return d.size >= d.at+d.length, nil
}

// script is the next unit as a letter.
func (d *decoder) script() byte {
	if d.current.Key {
		return 'K'
	}
	return 'p'
}

// pass goes on behind the next unit. d.mu is held.
func (d *decoder) pass() {
	if d.job.Container != media.Units {
		d.at += d.unit
		return
	}
	d.at += d.length
	d.units++
	d.stats.Undecoded.Lost += d.current.Lost
}

// packets is how many units were passed.
func (d *decoder) packets() int64 {
	if d.job.Container != media.Units {
		return d.at / d.unit
	}
	return d.units
}

// pts is the time of the picture of the unit that was passed last.
func (d *decoder) pts(index int64) time.Duration {
	if d.job.Container != media.Units {
		return time.Duration(index) * 40 * time.Millisecond
	}
	return d.current.PTS
}

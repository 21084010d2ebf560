package av

import (
	"errors"
	"io"
	"time"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// unitReader reads media.Units, which needs no demuxer: the hub wrote the headers.
type unitReader struct {
	pos   int64 // of the next unit
	until int64 // units that begin before this byte are late
	ahead ahead
	told  [64]unitNote // of the latest packets, by number
	head  [media.UnitHeader]byte
}

// unitNote is what a picture is to have of its unit.
type unitNote struct {
	packet   int64
	rotation int
	stamp    media.Stamp
}

// ahead is what was seen of the units that have come and are not decoded yet.
type ahead struct {
	pos    int64 // up to here
	key    int64 // where the latest key unit among them begins; 0: there is none
	newest time.Duration
}

// of is what is known of the unit of a packet.
func (u *unitReader) of(packet int64) unitNote {
	if n := u.told[packet&63]; n.packet == packet && packet > 0 {
		return n
	}
	return unitNote{}
}

// unitCodecs are the codecs of media.UnitCodecs.
var unitCodecs = map[string]astiav.CodecID{
	"h264": astiav.CodecIDH264, "vp8": astiav.CodecIDVp8, "vp9": astiav.CodecIDVp9,
	"av1": astiav.CodecIDAv1, "mjpeg": astiav.CodecIDMjpeg,
}

// readUnits decodes units until the end.
func (d *decoder) readUnits() error {
	d.timeBase = astiav.NewRational(1, int(time.Second))
	for {
		if err := d.in.await(d.units.pos); err != nil {
			return err
		}
		u, err := d.nextUnit()
		switch {
		case errors.Is(err, io.EOF):
			if d.cc == nil {
				return refuse(media.ErrDecode, "the live input ended before its first picture")
			}
			return nil
		case err != nil:
			return err
		}
		err = d.unit(u)
		d.pkt.Unref()
		if err != nil {
			return err
		}
	}
}

// nextUnit waits for the next unit, whose data is the packet's. One that is cut off is the
// end.
func (d *decoder) nextUnit() (*media.Unit, error) {
	at := d.units.pos
	u, size, err := d.unitAt(at)
	if err != nil {
		return nil, err
	}
	next := at + media.UnitHeader + int64(size)
	if err := d.in.awaitSize(next); err != nil {
		return nil, err
	}
	if d.in.size < next {
		return nil, io.EOF
	}
	if u.Data, err = d.payload(size); err != nil {
		return nil, err
	}
	if _, err := d.in.file.ReadAt(u.Data, at+media.UnitHeader); err != nil {
		return nil, refuse(media.ErrInput, "reading the input failed: %v", err)
	}
	d.units.pos, d.in.high = next, max(d.in.high, next)
	return &u, nil
}

// unitAt reads the header of the unit at a place, and waits for it.
func (d *decoder) unitAt(at int64) (u media.Unit, size int, err error) {
	if err := d.in.awaitSize(at + media.UnitHeader); err != nil {
		return u, 0, err
	}
	if d.in.size < at+media.UnitHeader {
		return u, 0, io.EOF
	}
	if _, err := d.in.file.ReadAt(d.units.head[:], at); err != nil {
		return u, 0, refuse(media.ErrInput, "reading the input failed: %v", err)
	}
	if u, size, err = media.ParseUnit(d.units.head[:]); err != nil {
		return u, 0, refuse(media.ErrDecode, "byte %d of the input is not the beginning of an access unit", at)
	}
	return u, size, nil
}

// unit decodes one unit, unless it is too late for that.
func (d *decoder) unit(u *media.Unit) error {
	d.stats.Undecoded.Lost += u.Lost
	id := unitCodecs[u.Codec]
	if d.cc != nil && id != d.codec { // the sender chose another codec
		if err := d.drain(); err != nil {
			return err
		}
		d.cc.Free()
		d.cc = nil
	}
	if d.cc == nil {
		if err := d.openCodec(id, nil); err != nil {
			return err
		}
	}
	d.pkt.SetPts(int64(u.PTS))
	d.pkt.SetDts(int64(u.PTS))
	if u.Key {
		d.pkt.SetFlags(d.pkt.Flags().Add(astiav.PacketFlagKey))
	}
	number := d.note(d.pkt)
	d.units.told[number&63] = unitNote{number, u.Rotation, u.Stamp}
	if d.skip(d.pkt, number) {
		return nil
	}
	if over, err := d.passOver(number); over || err != nil {
		return err
	}
	late, err := d.late(u)
	if err != nil {
		return err
	}
	if late {
		d.stats.Undecoded.Late++
		d.keys.received(number) // nothing is missing
		return nil
	}
	return d.send(d.pkt, number)
}

// late says whether a later unit that has come already makes this one superfluous:
// the newest picture wins, as far as it does not need those before it.
func (d *decoder) late(u *media.Unit) (bool, error) {
	if !d.job.Live || d.job.MaxAge <= 0 || d.resuming() {
		return false, nil
	}
	a := &d.units.ahead
	if d.units.pos <= d.units.until { // it ends there, or before
		return true, nil
	}
	if a.pos < d.units.pos {
		*a = ahead{pos: d.units.pos, newest: u.PTS}
	}
	for a.pos+media.UnitHeader <= d.in.size {
		next, size, err := d.unitAt(a.pos)
		if err != nil {
			return false, err
		}
		end := a.pos + media.UnitHeader + int64(size)
		if end > d.in.size {
			break
		}
		if a.newest = next.PTS; next.Key {
			a.key = a.pos
		}
		a.pos = end
	}
	if a.key < d.units.pos || a.key == 0 {
		return false, nil
	}
	if u.Codec != "mjpeg" && a.newest-u.PTS <= d.job.MaxAge {
		return false, nil
	}
	d.units.until = a.key
	return true, nil
}

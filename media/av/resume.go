package av

/*
#include <libavutil/imgutils.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"hash/crc32"
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// A decoder with a checkpoint reads all packets from the beginning, and notes of
// them what it would have noted anyway. It decodes from Checkpoint.Key on, and the
// first picture that it counts is the one after the checkpoint's.

// errAstray ends an attempt to resume from a key packet that did not lead to the
// checkpoint's picture.
var errAstray = errors.New("resumed from the wrong place")

// resuming says that the checkpoint's picture has not come yet.
func (d *decoder) resuming() bool { return d.resume != nil }

// passOver says that a packet is before those to be decoded.
func (d *decoder) passOver(packet int64) (bool, error) {
	switch at := d.resume; {
	case at == nil || at.Key <= 1:
		return false, nil // from the beginning it always works, so nothing is checked
	case packet < at.Key:
		return true, nil
	case packet > at.Sent:
		return false, errAstray
	}
	return false, nil
}

// notThere is why the checkpoint's picture has not come.
func (d *decoder) notThere() error {
	if d.resume.Key > 1 {
		return errAstray
	}
	return refuse(media.ErrInput, "the input ended before the picture %d, after which decoding was to go on", d.resume.Index)
}

// noteRestart notes whether decoding could begin again at a packet.
func (d *decoder) noteRestart(pkt *astiav.Packet, number int64, isKey bool) {
	p := rawPacket(pkt)
	if number > 1 && C.det_new_header(p) != 0 {
		d.restarts.lost = true
	}
	place := place{packet: number}
	if d.codec == astiav.CodecIDH264 { // the others do not guess
		cc := (*C.AVCodecContext)(d.cc.UnsafePointer())
		if at := d.resume; at != nil && at.Key == number && number > 1 {
			cc.has_b_frames = C.int(at.Delay) // the packets before would have taught it
		}
		place.delay = int64(cc.has_b_frames)
	}
	h := headOf(d.codec, d.lengths, isKey, unsafe.Slice((*byte)(p.data), int(p.size)))
	d.restarts.note(h, place)
}

// arrive takes a picture before the first that counts. With the checkpoint's picture
// everything becomes as it was when the checkpoint was made.
func (d *decoder) arrive(p *C.det_picture, nth int64) error {
	at := d.resume
	if int64(p.packet) != at.Packet || nth != at.Nth {
		return nil
	}
	if at.Key > 1 && (d.keys.packets != at.Sent || d.sum() != at.Sum) {
		return errAstray
	}
	d.resume = nil
	d.stats = at.Stats
	d.fields = d.fields || at.Fields
	d.keys.resume(at)
	d.clock.resume(at)
	d.last = d.describePicture(p)
	d.last.Index, d.last.PTS, d.last.KeyPTS = at.Index, at.PTS, at.KeyPTS
	if err := d.tellStream(p); err != nil {
		return err
	}
	d.lastNS = d.lasts(p)
	d.restartTimer()
	return nil
}

// checkpoint is that of the latest picture, when it was picked.
func (d *decoder) checkpoint() media.Checkpoint {
	skipped, later := d.skipper.mask(d.keys.packets)
	return media.Checkpoint{
		Index: d.last.Index, PTS: d.last.PTS, KeyPTS: d.last.KeyPTS, Stats: d.stats,
		Key: d.restarts.key.packet, Delay: d.restarts.key.delay,
		Packet: d.keys.latest, Nth: d.keys.nth, Sent: d.keys.packets, Sum: d.sum(),
		Pictures: d.keys.pictures - later, Early: d.keys.early, Fields: d.fields,
		Start: d.picker.Start(), Since: d.skipper.from(d.keys.packets), Skipped: skipped,
		Due: d.clock.mask(d.keys.packets), Rate: d.clock.fps,
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the checksum of some rows of the latest picture: all would take time.
func (d *decoder) sum() (sum uint32) {
	const rows = 32
	f := (*C.AVFrame)(d.frame.UnsafePointer())
	width := C.av_image_get_linesize(int32(f.format), f.width, 0)
	if width <= 0 || f.data[0] == nil {
		return 0
	}
	for y := 0; y < int(f.height); y += max(1, int(f.height)/rows) {
		row := unsafe.Add(unsafe.Pointer(f.data[0]), y*int(f.linesize[0]))
		sum = crc32.Update(sum, castagnoli, unsafe.Slice((*byte)(row), int(width)))
	}
	return sum
}

// bit is the mask of a packet that was sent so many packets ago; 0: too many.
func bit(ago int64) uint64 {
	if ago < 0 || ago > 63 {
		return 0
	}
	return 1 << ago
}

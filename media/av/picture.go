package av

/*
#include "shim.h"
*/
import "C"

import (
	"time"

	"detections/media"
)

// picture counts a decoded picture, and delivers it if it is picked.
func (d *decoder) picture() error {
	var p C.det_picture
	C.det_describe((*C.AVFrame)(d.frame.UnsafePointer()), rational(d.timeBase), &p)
	unit := d.units.of(int64(p.packet))
	p.rotation = (p.rotation + C.int(unit.rotation)) % 360
	d.keys.received(int64(p.packet))
	d.restarts.received(int64(p.packet), p.intra != 0)
	d.fields = d.fields || p.interlaced != 0
	if d.resuming() {
		return d.arrive(&p, d.keys.nth)
	}
	if err := d.tellStream(&p); err != nil {
		return err
	}
	pts := d.time(&p)
	if err := d.checkReached(pts); err != nil {
		return err
	}
	d.countSkipped(pts)
	if err := d.changeRules(); err != nil {
		return err
	}
	d.input = max(d.input, d.tell())
	d.last = d.describePicture(&p)
	d.last.Stamp = unit.stamp
	d.last.Index, d.last.PTS, d.last.KeyPTS, d.last.Input = d.stats.Decoded, pts, d.keyTime(pts, p.key != 0), d.input
	d.stats.Decoded++
	if p.concealed != 0 {
		d.stats.Concealed++
	}
	d.stats.Undecoded.NoKeyframe = d.keys.undecoded(false)
	if d.last.Index >= d.job.From && (d.job.Picture || d.picker.Pick(pts)) {
		if err := d.deliver(turn(p.rotation, p.mirrored)); err != nil {
			return err
		}
	}
	if d.job.Picture {
		return errDone
	}
	return nil
}

// describePicture is what a picture itself says.
func (d *decoder) describePicture(p *C.det_picture) media.FrameInfo {
	info := media.FrameInfo{Width: int(p.width), Height: int(p.height), Aspect: d.aspect(), Key: p.key != 0}
	if p.rotation == 90 || p.rotation == 270 {
		info.Width, info.Height, info.Aspect = info.Height, info.Width, 1/info.Aspect
	}
	return info
}

// tellStream puts the description of the stream, once.
func (d *decoder) tellStream(p *C.det_picture) error {
	if d.told {
		return nil
	}
	d.told = true
	info := d.describePicture(p)
	d.info.Width, d.info.Height, d.info.Rotation = info.Width, info.Height, int(p.rotation)
	d.clock.begin(d)
	return d.host.Put(media.Output{Stream: &d.info}, d.stats)
}

// aspect is the width of a pixel divided by its height: what the container says,
// else the stream. Still pictures are shown with square pixels everywhere.
func (d *decoder) aspect() float32 {
	if d.fc == nil {
		return 1
	}
	a := float32(C.det_aspect(d.raw(), C.int(d.stream), (*C.AVFrame)(d.frame.UnsafePointer())))
	if !(a >= 1/float32(media.MaxAspect) && a <= media.MaxAspect) {
		return 1
	}
	return a
}

// turn is how the scaler is told an orientation.
func turn(rotation, mirrored C.int) int {
	return int(rotation + mirrored*C.DET_MIRRORED)
}

// deliver scales the picture into a slot and hands it over.
func (d *decoder) deliver(turn int) error {
	begin := time.Now()
	busy := begin.Sub(d.mark) - (d.in.waited - d.markWaited)
	f := d.spare
	if f == nil {
		var err error
		if f, err = d.host.Slot(); err != nil {
			return err
		}
	}
	d.spare = nil
	begin = time.Now()
	f.FrameInfo = d.last
	if err := d.scaler.scale(d.frame, turn, f); err != nil {
		// A pixel format that cannot be converted: like a picture that did not decode.
		d.spare = f
		d.stats.Decoded--
		d.stats.Undecoded.Corrupt++
		d.host.Log(err.Error())
		return nil
	}
	f.Decode = busy + time.Since(begin)
	d.stats.Picked++
	f.Checkpoint = d.checkpoint()
	err := d.host.Put(media.Output{Frame: f}, d.stats)
	d.restartTimer()
	return err
}

// restartTimer begins FrameInfo.Decode of the next picked picture.
func (d *decoder) restartTimer() { d.mark, d.markWaited = time.Now(), d.in.waited }

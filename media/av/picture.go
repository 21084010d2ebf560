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
	w, h, aspect := int(p.width), int(p.height), d.aspect()
	if p.rotation == 90 || p.rotation == 270 {
		w, h, aspect = h, w, 1/aspect
	}
	d.keys.received(int64(p.packet))
	d.fields = d.fields || p.interlaced != 0
	if !d.told {
		d.told = true
		d.info.Width, d.info.Height, d.info.Rotation = w, h, int(p.rotation)
		d.clock.begin(d)
		if err := d.host.Put(media.Output{Stream: &d.info}, d.stats); err != nil {
			return err
		}
	}
	pts := d.time(&p)
	d.countSkipped(pts)
	if err := d.changeRules(); err != nil {
		return err
	}
	d.input = max(d.input, d.tell())
	d.last = media.FrameInfo{
		Index: d.stats.Decoded, PTS: pts, Width: w, Height: h, Aspect: aspect,
		Key: p.key != 0, KeyPTS: d.keyTime(pts, p.key != 0), Input: d.input,
	}
	d.stats.Decoded++
	if p.concealed != 0 {
		d.stats.Concealed++
	}
	d.stats.Undecoded.NoKeyframe = d.keys.undecoded(false)
	if d.job.Picture || d.picker.Pick(pts) {
		if err := d.deliver(turn(p.rotation, p.mirrored)); err != nil {
			return err
		}
	}
	if d.job.Picture {
		return errDone
	}
	return nil
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
	err := d.host.Put(media.Output{Frame: f}, d.stats)
	d.mark, d.markWaited = time.Now(), d.in.waited
	return err
}

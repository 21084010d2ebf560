package av

/*
#include "shim.h"
*/
import "C"

import (
	"math"
	"time"

	"detections/media"
)

// picture counts a decoded picture, and delivers it if it is picked.
func (d *decoder) picture() error {
	var p C.det_picture
	C.det_describe((*C.AVFrame)(d.frame.UnsafePointer()), rational(d.timeBase), &p)
	w, h := int(p.width), int(p.height)
	if p.rotation == 90 || p.rotation == 270 {
		w, h = h, w
	}
	d.keys.received(int64(p.packet))
	d.fields = d.fields || p.interlaced != 0
	if !d.told {
		d.told = true
		d.info.Width, d.info.Height, d.info.Rotation = w, h, int(p.rotation)
		if err := d.host.Put(media.Output{Stream: &d.info}, d.stats); err != nil {
			return err
		}
	}
	if err := d.changeRules(); err != nil {
		return err
	}
	d.input = max(d.input, d.tell())
	pts := d.time(&p)
	d.last = media.FrameInfo{
		Index: d.stats.Decoded, PTS: pts, Width: w, Height: h,
		Key: p.key != 0, KeyPTS: d.keys.before(pts), Input: d.input,
	}
	d.stats.Decoded++
	d.stats.Undecoded.NoKeyframe = d.keys.undecoded(false)
	if d.job.Picture || d.picker.Pick(pts) {
		if err := d.deliver(int(p.rotation)); err != nil {
			return err
		}
	}
	if d.job.Picture {
		return errDone
	}
	return nil
}

// time is the picture's presentation time, or a guess if it has none.
func (d *decoder) time(p *C.det_picture) time.Duration {
	lasts := time.Duration(p.dur_ns)
	if lasts <= 0 && d.info.FrameRate > 0 {
		lasts = time.Duration(float64(time.Second) / d.info.FrameRate)
	}
	pts := time.Duration(p.ns)
	if p.ns == math.MinInt64 {
		pts = 0
		if d.stats.Decoded > 0 {
			pts = d.last.PTS + d.lastNS
		}
	}
	d.lastNS = lasts
	return pts
}

// deliver scales the picture into a slot and hands it over.
func (d *decoder) deliver(rotation int) error {
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
	if err := d.scaler.scale(d.frame, rotation, f); err != nil {
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

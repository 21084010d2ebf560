package av

/*
#include "shim.h"
*/
import "C"

import (
	"math"
	"slices"
	"time"

	"detections/media"
)

// clock gives pictures of containers their time that do not: presentation times are
// then made from what there is.
type clock struct {
	kind clockKind
	fps  float64 // counted
	// ordered: packets whose pictures are due, and the times that are due to them.
	// Both ascend; pictures come out in another order, times never do.
	packets []int64
	times   []time.Duration
	key     time.Duration // of the latest key picture
}

type clockKind uint8

const (
	stamped clockKind = iota // every packet has its presentation time
	ordered                  // AVI: packets have the time of decoding only
	counted                  // raw streams: nothing but the order
)

func clockOf(container string) clockKind {
	switch {
	case container == media.AVI:
		return ordered
	case slices.Contains(raw, container):
		return counted
	}
	return stamped
}

// begin finds the frame rate of a raw stream, once the first picture is there.
func (c *clock) begin(d *decoder) {
	if c.kind != counted {
		return
	}
	d.info.FrameRate = 0 // the demuxer's own guess, 25
	for _, fps := range []float64{c.fps, d.job.FPS, d.rate(), 25} {
		if c.fps = fps; fps > 0 {
			break
		}
	}
	d.info.FrameRate, d.info.Duration = c.fps, 0
}

// maxTime is a lifetime. Times beyond it would overflow when they are counted with.
const maxTime = 1<<61 - 1

// plausible is the time, or none, MinInt64.
func plausible(t time.Duration) time.Duration {
	if t < -maxTime || t > maxTime {
		return math.MinInt64
	}
	return t
}

// maxDelay is how many packets may pass until a picture comes out: the largest
// reordering of H.264, and one.
const maxDelay = 17

// sent notes a packet.
func (c *clock) sent(number int64, dts time.Duration) {
	if c.kind != ordered || dts == math.MinInt64 {
		return
	}
	c.packets = append(c.packets, number)
	c.times = append(c.times, dts)
}

// due is the time of the picture that came from a packet: the earliest that no
// picture has had. Packets that are overdue gave no picture, and lose their time.
func (c *clock) due(packet int64) time.Duration {
	i := slices.Index(c.packets, packet)
	if i < 0 {
		return math.MinInt64
	}
	c.packets = slices.Delete(c.packets, i, i+1)
	pts := c.times[0]
	c.times = c.times[1:]
	for len(c.packets) > 0 && c.packets[0] < packet-maxDelay {
		c.packets, c.times = c.packets[1:], c.times[1:]
	}
	return pts
}

// mask is what Checkpoint.Due is, after so many packets.
func (c *clock) mask(sent int64) (due uint64) {
	for _, packet := range c.packets {
		due |= bit(sent - packet)
	}
	return due
}

// resume makes the clock what it was at a checkpoint, when the packets up to there
// have been noted.
func (c *clock) resume(at *media.Checkpoint) {
	c.fps, c.key = at.Rate, at.KeyPTS
	c.packets = slices.DeleteFunc(c.packets, func(packet int64) bool {
		return packet <= at.Sent && at.Due&bit(at.Sent-packet) == 0
	})
	c.packets = slices.Clone(c.packets)
	c.times = slices.Clone(c.times[len(c.times)-len(c.packets):])
}

// time is the picture's presentation time, or a guess if it has none.
func (d *decoder) time(p *C.det_picture) time.Duration {
	pts := plausible(time.Duration(p.ns))
	switch d.clock.kind {
	case counted:
		return time.Duration(min(math.Round(float64(d.stats.Decoded)/d.clock.fps*float64(time.Second)), maxTime))
	case ordered:
		pts = d.clock.due(int64(p.packet))
	}
	if pts == math.MinInt64 {
		pts = 0
		if d.stats.Decoded > 0 {
			pts = min(d.last.PTS+d.lastNS, maxTime)
		}
	}
	d.lastNS = d.lasts(p)
	return pts
}

// lasts is how long a picture lasts, as far as known.
func (d *decoder) lasts(p *C.det_picture) time.Duration {
	lasts := time.Duration(p.dur_ns)
	if rate := d.rate(); lasts <= 0 && rate > 0 {
		lasts = time.Duration(min(float64(time.Second)/rate, maxTime))
	}
	return lasts
}

// rate is the frame rate that the container or the stream claims, or 0.
func (d *decoder) rate() float64 {
	if d.info.FrameRate > 0 {
		return d.info.FrameRate
	}
	if r := d.cc.Framerate(); r.Num() > 0 && r.Den() > 0 && r.Float64() <= media.MaxSampleFPS {
		return r.Float64()
	}
	return 0
}

// keyTime is the time of the key picture from which this one can be decoded.
func (d *decoder) keyTime(pts time.Duration, key bool) time.Duration {
	if d.clock.kind == stamped {
		return d.keys.before(pts)
	}
	if key {
		d.clock.key = pts
	}
	return d.clock.key
}

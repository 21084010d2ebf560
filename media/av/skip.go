package av

/*
#include "shim.h"
*/
import "C"

import (
	"slices"
	"time"
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// skipper knows the pictures that need not be decoded: nothing refers to them, and
// the sampling rule cannot pick them, whatever comes. They count like the others.
type skipper struct {
	first   map[int64]time.Duration // by tick of the rule: the earliest picture that was seen
	pending []time.Duration         // skipped, and not yet counted
	skipped int64
	untimed bool               // a picture had no time of its own, or may have another's
	rules   []media.RuleChange // wait until what was skipped has been counted
	samples []media.Sample
}

// maxPending bounds the pictures that are skipped and not yet counted: more than
// reordering can hold up.
const maxPending = 64

// skip says whether the packet need not be decoded.
//
// A rule of frames per second picks the earliest picture of a tick. So a picture is
// not picked if an earlier one of the same tick was seen already. That needs times
// that can be trusted, one picture a packet, and a codec that tells references.
func (d *decoder) skip(pkt *astiav.Packet) bool {
	d.takeRules()
	pts := d.ns(pkt.Pts())
	s := &d.skipper
	s.untimed = s.untimed || pkt.Pts() == astiav.NoPtsValue || d.info.Container == media.MPEGPS
	if d.codec != astiav.CodecIDH264 || d.clock.kind != stamped || d.fields || d.stats.Decoded == 0 || s.untimed || len(s.pending) >= maxPending ||
		pts <= d.last.PTS || len(s.rules) > 0 {
		return false
	}
	tick, ok := d.picker.Tick(pts)
	if !ok {
		return false
	}
	earliest, seen := s.first[tick]
	if !seen || pts < earliest {
		if s.first == nil || len(s.first) >= maxPending {
			s.first = make(map[int64]time.Duration)
		}
		s.first[tick] = pts
		return tick == d.picker.Last() && d.disposable(pkt, pts)
	}
	return pts > earliest && d.disposable(pkt, pts)
}

// disposable notes the picture as skipped if nothing refers to it.
func (d *decoder) disposable(pkt *astiav.Packet, pts time.Duration) bool {
	if C.det_disposable((*C.AVCodecContext)(d.cc.UnsafePointer()), *(**C.AVPacket)(unsafe.Pointer(pkt))) == 0 {
		return false
	}
	d.keys.received(d.keys.sent(false, pts))
	d.skipper.pending = append(d.skipper.pending, pts)
	slices.Sort(d.skipper.pending)
	d.skipper.skipped++
	return true
}

// countSkipped counts the skipped pictures that come before a time.
func (d *decoder) countSkipped(before time.Duration) {
	n, _ := slices.BinarySearch(d.skipper.pending, before)
	d.stats.Decoded += int64(n)
	d.skipper.pending = d.skipper.pending[n:]
}

// takeRules takes the sampling rules that have arrived. While one waits nothing is
// skipped, so that it soon comes into force.
func (d *decoder) takeRules() {
	for {
		id, rule, ok := d.host.Rule()
		if !ok {
			return
		}
		d.skipper.rules = append(d.skipper.rules, media.RuleChange{ID: id})
		d.skipper.samples = append(d.skipper.samples, rule)
	}
}

// changeRules puts the sampling rules that have arrived into force.
func (d *decoder) changeRules() error {
	d.takeRules()
	if len(d.skipper.pending) > 0 {
		return nil
	}
	s := &d.skipper
	for i, r := range s.rules {
		d.picker.Change(s.samples[i])
		r.From = d.stats.Decoded
		s.first = nil
		if err := d.host.Put(media.Output{Rule: &r}, d.stats); err != nil {
			return err
		}
	}
	s.rules, s.samples = nil, nil
	return nil
}

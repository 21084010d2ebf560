package av

/*
#include "shim.h"
*/
import "C"

import (
	"cmp"
	"slices"
	"time"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// skipper knows the pictures that need not be decoded: nothing refers to them, and
// the sampling rule cannot pick them, whatever comes. They count like the others.
type skipper struct {
	first   map[int64]time.Duration // by tick of the rule: the earliest picture that was seen; nil: none since it began
	since   int64                   // packets before the first of those pictures
	pending []skipped               // in the order of time: not yet counted
	skipped int64
	untimed bool               // a picture had no time of its own, or may have another's
	rules   []media.RuleChange // wait until what was skipped has been counted
	samples []media.Sample
}

// skipped is a picture that was not decoded.
type skipped struct {
	pts    time.Duration
	packet int64
}

// maxPending bounds the pictures that are skipped and not yet counted: more than
// reordering can hold up.
const maxPending = 64

// skip says whether the packet need not be decoded.
//
// A rule of frames per second picks the earliest picture of a tick. So a picture is
// not picked if an earlier one of the same tick was seen already. That needs times
// that can be trusted, one picture a packet, and a codec that tells references.
func (d *decoder) skip(pkt *astiav.Packet, number int64) bool {
	pts := d.ns(pkt.Pts())
	s := &d.skipper
	s.untimed = s.untimed || pkt.Pts() == astiav.NoPtsValue || d.info.Container == media.MPEGPS
	known := d.codec == astiav.CodecIDH264 && d.clock.kind == stamped && !d.fields && !s.untimed
	tick, ok := d.picker.Tick(pts)
	if d.resuming() {
		if known && ok && number > d.resume.Since {
			s.note(number, tick, pts)
		}
		return s.again(number, pts, d.resume)
	}
	d.takeRules()
	if !known || !ok || len(s.pending) >= maxPending || pts <= d.last.PTS || len(s.rules) > 0 {
		return false
	}
	switch s.note(number, tick, pts) {
	case -1:
		return tick == d.picker.Last() && d.disposable(pkt, number, pts)
	case 1:
		return d.disposable(pkt, number, pts)
	}
	return false
}

// note compares a picture with the earliest of the same tick, which it may become.
func (s *skipper) note(packet, tick int64, pts time.Duration) int {
	if s.first == nil {
		s.first, s.since = make(map[int64]time.Duration), packet-1
	}
	earliest, seen := s.first[tick]
	if seen && pts >= earliest {
		return cmp.Compare(pts, earliest)
	}
	if len(s.first) >= maxPending {
		clear(s.first)
	}
	s.first[tick] = pts
	return -1
}

// disposable skips the picture if nothing refers to it.
func (d *decoder) disposable(pkt *astiav.Packet, number int64, pts time.Duration) bool {
	if C.det_disposable((*C.AVCodecContext)(d.cc.UnsafePointer()), rawPacket(pkt)) == 0 {
		return false
	}
	d.keys.received(number)
	d.skipper.add(number, pts)
	return true
}

func (s *skipper) add(number int64, pts time.Duration) {
	s.pending = append(s.pending, skipped{pts, number})
	slices.SortFunc(s.pending, func(a, b skipped) int { return cmp.Compare(a.pts, b.pts) })
	s.skipped++
}

// again skips what was skipped when the checkpoint was made. The others are decoded
// even if they were not, because nobody knows any more; they come before its picture.
func (s *skipper) again(number int64, pts time.Duration, at *media.Checkpoint) bool {
	if at.Skipped&bit(at.Sent-number) == 0 {
		return false
	}
	s.add(number, pts)
	return true
}

// mask is what Checkpoint.Skipped is, after so many packets; missing is how many it
// has no bit for.
func (s *skipper) mask(sent int64) (mask uint64, missing int64) {
	for _, p := range s.pending {
		b := bit(sent - p.packet)
		if mask |= b; b == 0 {
			missing++
		}
	}
	return mask, missing
}

// from is what Checkpoint.Since is, after so many packets.
func (s *skipper) from(sent int64) int64 {
	if s.first == nil {
		return sent
	}
	return s.since
}

// countSkipped counts the skipped pictures that come before a time.
func (d *decoder) countSkipped(before time.Duration) {
	n, _ := slices.BinarySearchFunc(d.skipper.pending, before, func(p skipped, pts time.Duration) int { return cmp.Compare(p.pts, pts) })
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
	if len(d.skipper.pending) > 0 || d.stats.Decoded < d.job.From {
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

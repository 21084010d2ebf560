package av

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"time"

	"detections/media"
)

// overLimit says which limit FFmpeg found to be exceeded, in words; empty: none.
func (d *decoder) overLimit() string {
	var w, h C.uint
	switch C.det_limit_hit(&w, &h) {
	case C.DET_LIMIT_PIXELS:
		return d.tooManyPixels(int(w), int(h))
	case C.DET_LIMIT_STREAMS:
		return fmt.Sprintf("the input has more than %d streams (setting max-streams)", d.limits.Streams)
	}
	return ""
}

func (d *decoder) tooManyPixels(w, h int) string {
	return fmt.Sprintf("the pictures are %d×%d, more than %d pixels (setting max-pixels)", w, h, d.limits.Pixels)
}

// believable is how many pictures make a declared frame rate worth refusing: files of
// one or two often last no time at all.
const believable = 10

// checkDeclared holds the header's word for length and frame rate against the limits.
// frames is how many there are, 0: not known.
func (d *decoder) checkDeclared(frames int64) error {
	switch i := &d.info; {
	case i.FrameRate > d.limits.FrameRate && (frames == 0 || frames >= believable) && d.clock.kind != counted:
		return refuse(media.ErrTooLarge, "the video has %.0f frames per second, more than %.0f (setting max-frame-rate)", i.FrameRate, d.limits.FrameRate)
	case i.Duration > d.limits.Duration && !d.job.Live:
		return d.tooLong(i.Duration)
	}
	return nil
}

func (d *decoder) tooLong(found time.Duration) error {
	return refuse(media.ErrTooLarge, "the video lasts %v, more than %v (setting max-duration)", found.Round(time.Second), d.limits.Duration)
}

// pace is how many pictures there were in the latest second of the media.
type pace struct {
	begun    bool
	first    time.Duration // time of the first picture
	second   time.Duration // counted in seconds since then
	pictures float64
}

// checkReached does the same with what the pictures say. Times that stand still or
// jump back, where recordings are joined, are nothing that can be counted with.
func (d *decoder) checkReached(pts time.Duration) error {
	p := &d.pace
	if !p.begun {
		p.begun, p.first = true, pts
		if r := d.job.Resume; r != nil {
			p.first = r.Start
		}
	}
	since := pts - p.first
	if second := since / time.Second; second != p.second {
		p.second, p.pictures = second, 0
	}
	p.pictures++
	switch {
	case since > d.limits.Duration && !d.job.Live:
		return d.tooLong(since)
	case p.pictures > d.limits.FrameRate+believable && pts > d.last.PTS:
		return refuse(media.ErrTooLarge, "the video has %.0f frames within a second, more than %.0f (setting max-frame-rate)", p.pictures, d.limits.FrameRate)
	}
	return nil
}

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"detections/infer"
	"detections/session/wire"
)

const (
	throughputClip   = "people-long.mp4"
	throughputTarget = 0.95
	aloneTime        = 1500 * time.Millisecond // of each layout of engines, each repetition
)

// throughputRun are the sessions, and the parts alone, measured beside each.
type throughputRun struct {
	fps, ratio             sample
	thrift                 sample             // CPU alone / CPU in the session: the ratio, had the session the machine for itself
	decode, convert, infer sample             // CPU ms per frame, alone
	images, cpu            map[string]*sample // of the engines alone, by layout
	bare, bareFPS, ofBare  sample             // CPU ms per frame of the parts in one loop, frames/s, and the session against it

	// During the session: ms of all cores per frame.
	hub, own, workers, client, others, idle sample
	inSitu, mallocs, collections            sample
}

// throughput compares a session with what its parts cost alone. The ratio of speeds
// is the target, but means little while others use the machine; the ratio of
// processor times beside it is hardly touched by that, and they differ by the time
// in which cores had nothing to do, or worked for others or for the client.
func (b *bench) throughput(ctx context.Context) error {
	a, err := b.parts()
	if err != nil {
		return err
	}
	c, err := b.clip(throughputClip)
	if err != nil {
		return err
	}
	r := &throughputRun{images: map[string]*sample{}, cpu: map[string]*sample{}}
	for _, l := range a.layouts {
		r.images[l.name], r.cpu[l.name] = &sample{}, &sample{}
	}
	for range b.reps {
		if err := b.throughputOnce(ctx, a, c, r); err != nil {
			return err
		}
	}
	b.printThroughput(a, r)
	return nil
}

// throughputOnce measures the parts and one session.
func (b *bench) throughputOnce(ctx context.Context, a *alone, c *clip, r *throughputRun) error {
	infer1 := time.Duration(0)
	for _, l := range a.layouts {
		m, err := infer.Measure(l.engines, 1, aloneTime)
		if err != nil {
			return err
		}
		r.images[l.name].add(m.PerSecond())
		r.cpu[l.name].addMS(m.CPUPerImage())
		// The best is the one that needs least of all cores' time: their speed says
		// the same, but not when others use the machine.
		if l.all && (infer1 == 0 || m.CPUPerImage() < infer1) {
			infer1 = m.CPUPerImage()
		}
	}
	r.infer.addMS(infer1)
	spent, frames, err := a.decode(ctx, b.media, c.name)
	if err != nil {
		return err
	}
	decode, convert := spent/time.Duration(max(1, frames)), a.convert()
	r.decode.addMS(decode)
	r.convert.addMS(convert)
	bare, wall, n, err := a.pipeline(ctx, b.media, c.name)
	if err != nil {
		return err
	}
	bareFPS := float64(n) / wall.Seconds()
	r.bare.add(perFrame(bare, n))
	r.bareFPS.add(bareFPS)
	s, err := b.curl(ctx, c)
	if err != nil {
		return err
	}
	cores := float64(runtime.NumCPU())
	ideal := cores / (decode + convert + infer1).Seconds()
	fps := float64(s.frames) / s.use.wall.Seconds()
	r.fps.add(fps)
	r.ratio.add(fps / ideal)
	r.ofBare.add(fps / bareFPS)
	r.thrift.add(cores / ideal * float64(s.frames) / (s.use.hub + s.use.workers).Seconds())
	r.hub.add(perFrame(s.use.hub, s.frames))
	r.workers.add(perFrame(s.use.workers, s.frames))
	r.client.add(perFrame(s.use.self, s.frames))
	r.others.add(perFrame(s.use.others(), s.frames))
	r.idle.add(perFrame(s.use.machine.idle, s.frames))
	r.own.add(perFrame(s.use.hub, s.frames) - ms(infer1) - ms(convert))
	r.inSitu.add(1000 * s.metrics["detections_run_seconds_sum"] / max(1, s.metrics["detections_run_seconds_count"]))
	r.mallocs.add(s.metrics["go_memstats_mallocs_total"] / float64(s.frames))
	r.collections.add(s.metrics["go_gc_duration_seconds_count"])
	return b.hub.settled(ctx)
}

// measured is one unthrottled session from its first to its last result.
type measured struct {
	frames  int // after the first
	use     usage
	metrics map[string]float64 // how much they grew, over the whole session
}

func (b *bench) session(ctx context.Context, c *clip) (measured, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var r measured
	before, err := b.hub.metrics(ctx)
	if err != nil {
		return r, err
	}
	s, err := webSocket.open(b.hub, ctx, wire.Start{Media: wire.Media{Size: int64(len(c.bytes))}})
	if err != nil {
		return r, err
	}
	defer s.stop()
	s.brief.Store(true)
	fed := make(chan error, 1)
	go func() { fed <- new(pacer).run(ctx, s, c.bytes) }()
	var first, last usage
	results, ended := 0, message{}
	for m := range s.messages {
		switch m.Type {
		case wire.TypeDetections:
			if results++; results == 1 {
				if first, err = b.hub.use(); err != nil {
					return r, err
				}
				first.at = m.at
			}
			last.at = m.at
		case wire.TypeEnd:
			ended = m
		}
	}
	at := last.at
	if last, err = b.hub.use(); err != nil {
		return r, err
	}
	last.at = at
	if err := errors.Join(<-fed, s.err); err != nil || ended.Outcome != wire.Done || results < 2 {
		return r, fmt.Errorf("%d results, outcome %q: %w", results, ended.Outcome, err)
	}
	grown, err := b.hub.grownSince(ctx, before)
	if err != nil {
		return r, err
	}
	return measured{results - 1, last.since(first), grown}, nil
}

func (b *bench) printThroughput(a *alone, r *throughputRun) {
	cores := float64(runtime.NumCPU())
	rows := [][]string{{"engines × threads, alone", "images/s", "CPU ms/image"}}
	for _, l := range a.layouts {
		rows = append(rows, []string{l.name, r.images[l.name].show("%.1f"), r.cpu[l.name].show("%.2f")})
	}
	b.out.table(fmt.Sprintf("THROUGHPUT of one file session, %s uploaded by curl; median of %d [lowest–highest]", throughputClip, b.reps), rows)
	need := r.decode.median() + r.convert.median() + r.infer.median()
	b.out.table("  CPU ms per frame", [][]string{
		{"", "alone", "in the session"},
		{"decode and scale", r.decode.show("%.2f"), r.workers.show("%.2f") + " decoder process"},
		{"convert", r.convert.show("%.2f"), ""},
		{"infer, best of those on all cores", r.infer.show("%.2f"), r.inSitu.show("%.2f") + " wall of a run"},
		{"these three in a bare loop, in each other's way", r.bare.show("%.2f"), ""},
		{"hub, all of it", "", r.hub.show("%.2f")},
		{"hub's own: all − convert − infer", "", r.own.show("%.2f")},
		{"this process", "", r.client.show("%.2f")},
		{"curl, and others on this machine", "", r.others.show("%.2f")},
		{"cores without work", "", r.idle.show("%.2f")},
		{"sum of what it takes; of all cores' time", fmt.Sprintf("%.2f", need), fmt.Sprintf("%.2f", 1000*cores/r.fps.median())},
	})
	b.out.table("  frames per second, first to last result", [][]string{
		{"", "measured", "target", ""},
		{fmt.Sprintf("possible: %.0f cores / sum alone", cores), fmt.Sprintf("%.1f", 1000*cores/need), "", ""},
		{"a bare loop of decoder and engines", r.bareFPS.show("%.1f"), "", ""},
		{"the session", r.fps.show("%.1f"), "", ""},
		{"ratio", r.ratio.show("%.3f"), fmt.Sprintf("≥ %.2f", throughputTarget), verdict(r.ratio.median() >= throughputTarget)},
		{"the session / the bare loop", r.ofBare.show("%.3f"), "", ""},
		{"the same of what curl and others left of the cores", fmt.Sprintf("%.3f", r.ratio.median()/(1-r.fps.median()*(r.client.median()+r.others.median())/(1000*cores))), "", ""},
		{"CPU alone / CPU in the session", r.thrift.show("%.3f"), "", ""},
		{"hub's allocations per frame", r.mallocs.show("%.0f"), "", ""},
		{"hub's garbage collections per session", r.collections.show("%.0f"), "", ""},
	})
}

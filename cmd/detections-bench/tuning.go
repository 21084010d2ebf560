//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
)

const (
	tuneTarget = 0.95
	tuneImages = 40.0 // of a try, at least
	waitTarget = 1.10
)

// choice is a fixed way of running engines.
type choice struct {
	layout string
	batch  int
	delay  time.Duration
}

func (c choice) String() string {
	return fmt.Sprintf("%s, batch %d, delay %v", c.layout, c.batch, max(0, c.delay))
}

// tuner tries choices.
type tuner struct {
	a, grid *alone
	lasts   time.Duration // of each try: some runs, on a slow machine too
	// The best of the grid: in images per second, in the latency of a lone picture, and
	// in that with the layout that has the most images per second.
	fastest, quickest, quickestSame choice
}

var (
	busy = feed{clients: 8, class: infer.File}
	lone = feed{clients: 1, class: infer.Image, open: 1}
)

// try returns images per second and the median latency in ms.
func (t *tuner) try(c choice, f feed) (rate, p50 float64, err error) {
	config := t.a.asInHub()
	if c.batch > 0 {
		config = infer.BatcherConfig{SharedCores: true, MaxBatch: c.batch, MaxDelay: c.delay}
	}
	out, err := t.a.serve(config, t.grid.of(c.layout), t.lasts, false, f)
	if err != nil {
		return 0, 0, err
	}
	return out[0].rate(), out[0].ages.median(), nil
}

// search finds the best of the grid.
func (t *tuner) search() error {
	best, least, leastSame := 0.0, math.Inf(1), math.Inf(1)
	for i, l := range t.grid.layouts {
		for _, c := range []choice{{l.name, 1, -1}, {l.name, 2, -1}, {l.name, 4, -1}, {l.name, 4, 10 * time.Millisecond}} {
			rate, _, err1 := t.try(c, busy)
			_, p50, err2 := t.try(c, lone)
			if err := errors.Join(err1, err2); err != nil {
				return err
			}
			if rate > best {
				best, t.fastest = rate, c
			}
			if p50 < least {
				least, t.quickest = p50, c
			}
			if i == 0 && p50 < leastSame {
				leastSame, t.quickestSame = p50, c
			}
		}
	}
	return nil
}

// tuning compares no choice at all with the best of a grid.
func (b *bench) tuning(ctx context.Context, a *alone, rate float64) error {
	grid, err := a.openGrid(b.library)
	if err != nil {
		return err
	}
	defer func() { _ = grid.close() }()
	t := &tuner{a: a, grid: grid, lasts: max(feedTime, time.Duration(tuneImages/rate*float64(time.Second)))}
	if err := t.search(); err != nil {
		return err
	}
	learned := choice{layout: grid.layouts[0].name}
	var speed, wait, waitSame sample
	for range batcherReps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mine, _, err1 := t.try(learned, busy)
		theirs, _, err2 := t.try(t.fastest, busy)
		_, same, err3 := t.try(t.quickestSame, lone)
		_, my, err4 := t.try(learned, lone)
		_, other, err5 := t.try(t.quickest, lone)
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			return err
		}
		speed.add(mine / theirs)
		wait.add(my / other)
		waitSame.add(my / same)
	}
	most := fmt.Sprintf("≤ %.2f", waitTarget)
	b.out.table(fmt.Sprintf("SELF-TUNING: no choice against the best of a grid of %d, %d interleaved pairs", 4*len(grid.layouts), batcherReps), [][]string{
		{"", "best of the grid", "learned / best", "target", ""},
		{"images/s, 8 sessions", t.fastest.String(), speed.show("%.3f"), fmt.Sprintf("≥ %.2f", tuneTarget), verdict(speed.median() >= tuneTarget)},
		{"latency of a lone picture", t.quickest.String(), wait.show("%.3f"), most, verdict(wait.median() <= waitTarget)},
		{"the same, with as many engines", t.quickestSame.String(), waitSame.show("%.3f"), most, verdict(waitSame.median() <= waitTarget)},
	})
	return nil
}

// openGrid opens engines that take batches, in the layouts that use all cores.
func (a *alone) openGrid(library string) (*alone, error) {
	file, err := loader.Embedded()
	if err != nil {
		return nil, err
	}
	if err := ort.Init(library); err != nil {
		return nil, err
	}
	g := &alone{model: a.model}
	for _, l := range a.layouts {
		if !l.all {
			continue
		}
		same := layout{name: l.name, all: true}
		for range l.engines {
			threads := runtime.NumCPU() / len(l.engines)
			e, err := ort.Open(file.Bytes, a.model, ort.Options{Providers: []string{"cpu"}, Threads: threads, Spin: threads > 1, MaxBatch: 4})
			if err != nil {
				return nil, errors.Join(err, g.close())
			}
			same.engines = append(same.engines, e)
		}
		g.layouts = append(g.layouts, same)
	}
	return g, nil
}

// of are the engines of a layout.
func (a *alone) of(name string) []infer.Engine {
	for _, l := range a.layouts {
		if l.name == name {
			return l.engines
		}
	}
	return nil
}

//go:build cgo

package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"detections/infer"
)

const (
	feedTime     = 500 * time.Millisecond // of each way of feeding, each repetition
	fairTime     = 5 * time.Second
	batcherReps  = 9
	batchTarget  = 0.95
	jainTarget   = 0.99
	politeShare  = 0.45
	politeClient = 6
)

// batcher measures the batcher with the real engine and pictures that are ready.
func (b *bench) batcher(ctx context.Context) error {
	a, err := b.parts()
	if err != nil {
		return err
	}
	before := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * before) // as in the hub: one more for each engine
	defer runtime.GOMAXPROCS(before)
	rate, err := b.againstRaw(ctx, a)
	if err != nil {
		return err
	}
	for _, part := range []func(context.Context, *alone, float64) error{b.fairness, b.overload, b.tuning} {
		if err := part(ctx, a, rate); err != nil {
			return err
		}
	}
	return nil
}

// againstRaw compares the batcher with its engines alone. It returns their images per second.
func (b *bench) againstRaw(ctx context.Context, a *alone) (float64, error) {
	engines, sessions := a.layouts[0].engines, []int{1, 8, 64}
	var raw sample
	rates, ratios := make([]sample, len(sessions)), make([]sample, len(sessions))
	for range batcherReps {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		m, err := infer.Measure(engines, 1, feedTime)
		if err != nil {
			return 0, err
		}
		raw.add(m.PerSecond())
		for i, n := range sessions {
			out, err := a.serve(a.asInHub(), engines, feedTime, false, feed{clients: n, class: infer.File})
			if err != nil {
				return 0, err
			}
			rates[i].add(out[0].rate())
			ratios[i].add(rates[i][len(rates[i])-1] / m.PerSecond())
		}
	}
	rows := [][]string{{"ready pictures", "images/s", "of raw", "target", ""}, {"engines alone, " + a.layouts[0].name, raw.show("%.1f"), "", "", ""}}
	for i, n := range sessions {
		rows = append(rows, []string{fmt.Sprintf("%d sessions", n), rates[i].show("%.1f"), ratios[i].show("%.3f"), fmt.Sprintf("≥ %.2f", batchTarget), verdict(ratios[i].median() >= batchTarget)})
	}
	b.out.table(fmt.Sprintf("BATCHER against the engines alone: %d interleaved repetitions", batcherReps), rows)
	return raw.median(), nil
}

// fairness lets one greedy client loose on polite ones.
func (b *bench) fairness(_ context.Context, a *alone, rate float64) error {
	engines := a.layouts[0].engines
	run := time.Duration(float64(len(engines)) / rate * float64(time.Second))
	polite := feed{clients: politeClient, class: infer.Live, period: time.Duration(politeClient / (politeShare * rate) * float64(time.Second))}
	greedy := feed{principal: "greedy", clients: 32, class: infer.File}
	rows := [][]string{{"", "Jain", "p50 ms", "p99 ms", "target p99", "greedy/s", ""}}
	var limit float64
	for _, c := range []struct {
		name  string
		fifo  bool
		feeds []feed
	}{
		{"polite alone", false, []feed{polite}}, {"with a greedy client", false, []feed{polite, greedy}}, {"the same, first come first served", true, []feed{polite, greedy}},
	} {
		out, err := a.serve(a.asInHub(), engines, fairTime, c.fifo, c.feeds...)
		if err != nil {
			return err
		}
		o, p99 := out[0], out[0].ages.quantile(0.99)
		row := []string{c.name, fmt.Sprintf("%.4f", o.jain()), fmt.Sprintf("%.1f", o.ages.median()), fmt.Sprintf("%.1f", p99), "", "", ""}
		if len(out) == 1 {
			limit = p99 + 2*ms(run)
		} else {
			row[5] = fmt.Sprintf("%.1f", out[1].rate())
			row[4] = fmt.Sprintf("≤ %.1f", limit)
		}
		if len(out) == 2 && !c.fifo {
			row[6] = verdict(o.jain() >= jainTarget && p99 <= limit)
		}
		rows = append(rows, row)
	}
	b.out.table(fmt.Sprintf("FAIRNESS: %d polite cameras that ask for %.0f %%, one client with 32 uploads; a run takes %.1f ms", politeClient, 100*politeShare, ms(run)), rows)
	return nil
}

// overload asks for four times what there is.
func (b *bench) overload(_ context.Context, a *alone, rate float64) error {
	const cameras = 40
	files := feed{clients: 2, class: infer.File, frames: int(rate / 3 * fairTime.Seconds() / 2 * 0.8)}
	live := feed{clients: cameras, class: infer.Live, period: time.Duration(cameras / (4 * rate) * float64(time.Second))}
	out, err := a.serve(a.asInHub(), a.layouts[0].engines, fairTime, false, live, files)
	if err != nil {
		return err
	}
	p99, budget := out[0].ages.quantile(0.99), ms(infer.DefaultBudget)
	asked, answered := out[1].total(out[1].asked), out[1].total(out[1].answered)
	b.out.table("OVERLOAD: 40 cameras that want four times what can be done, two files", [][]string{
		{"", "measured", "target", ""},
		{"age of live results, p50 ms", fmt.Sprintf("%.0f", out[0].ages.median()), "", ""},
		{"age of live results, p99 ms", fmt.Sprintf("%.0f", p99), fmt.Sprintf("≤ %.0f", budget), verdict(p99 <= budget)},
		{"frames of files answered", fmt.Sprintf("%d of %d", answered, asked), "all", verdict(asked == answered && asked == files.clients*files.frames)},
	})
	return nil
}

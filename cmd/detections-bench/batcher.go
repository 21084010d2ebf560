//go:build cgo

package main

import (
	"context"
	"fmt"
	"time"

	"detections/infer"
	"detections/infer/ort"
)

const (
	feedTime      = 500 * time.Millisecond // of each way of feeding, each repetition
	fairTime      = 2 * time.Second
	fairReps      = 5
	overloadTime  = 5 * time.Second
	batcherReps   = 9
	batchTarget   = 0.95
	jainTarget    = 0.99
	overTarget    = 2.0 // runs
	convertTarget = 0.4 // ms
	politeShare   = 0.45
	politeClient  = 6
)

// batcher measures the batcher with the real engine and pictures that are ready.
func (b *bench) batcher(ctx context.Context) error {
	a, err := b.parts()
	if err != nil {
		return err
	}
	defer ort.ShareCores()() // as in the hub
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
	var raw, convert sample
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
		convert.addMS(a.convert())
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
	in := a.model.Input
	rows = append(rows, []string{fmt.Sprintf("pixels of %d×%d into the tensor, CPU ms", in.Width, in.Height), convert.show("%.2f"), "", fmt.Sprintf("≤ %.2f", convertTarget), verdict(convert.median() <= convertTarget)})
	b.out.table(fmt.Sprintf("BATCHER against the engines alone: %d interleaved repetitions", batcherReps), rows)
	return raw.median(), nil
}

// fairness lets one greedy client loose on polite ones. What the machine can do is
// measured before each repetition, and so is what the polite get alone: on one that is
// not quiet both change from second to second.
func (b *bench) fairness(ctx context.Context, a *alone, _ float64) error {
	engines := a.layouts[0].engines
	greedy := feed{principal: "greedy", clients: 32, class: infer.File}
	runs := []*struct {
		name             string
		fifo             bool
		greedy           bool
		jain, p50, p99   sample
		over, theirsRate sample
	}{{name: "polite alone"}, {name: "with a greedy client", greedy: true}, {name: "the same, first come first served", greedy: true, fifo: true}}
	var run sample
	for range fairReps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		raw, err := infer.Measure(engines, 1, feedTime)
		if err != nil {
			return err
		}
		rate := raw.PerSecond()
		run.add(1000 * float64(len(engines)) / rate)
		polite := feed{clients: politeClient, class: infer.Live, period: time.Duration(politeClient / (politeShare * rate) * float64(time.Second))}
		for i, r := range runs {
			feeds := []feed{polite}
			if r.greedy {
				feeds = append(feeds, greedy)
			}
			out, err := a.serve(a.asInHub(), engines, fairTime, r.fifo, feeds...)
			if err != nil {
				return err
			}
			o := out[0]
			r.jain.add(o.jain())
			r.p50.add(o.ages.median())
			r.p99.add(o.ages.quantile(0.99))
			if i > 0 {
				last := len(run) - 1
				r.over.add((o.ages.quantile(0.99) - runs[0].p99[last]) / run[last])
				r.theirsRate.add(out[1].rate())
			}
		}
	}
	rows := [][]string{{"", "Jain", "p50 ms", "p99 ms", "p99 above alone, in runs", "greedy/s", ""}}
	for _, r := range runs {
		row := []string{r.name, r.jain.show("%.4f"), r.p50.show("%.1f"), r.p99.show("%.1f"), r.over.show("%.1f"), r.theirsRate.show("%.0f"), ""}
		if r.greedy && !r.fifo {
			row[6] = verdict(r.jain.median() >= jainTarget && r.over.median() <= overTarget)
		}
		rows = append(rows, row)
	}
	b.out.table(fmt.Sprintf("FAIRNESS: %d polite cameras that ask for %.0f %%, one client with 32 uploads; a run takes %.1f ms; %d repetitions; targets: Jain ≥ %.2f, p99 at most %.0f runs above alone",
		politeClient, 100*politeShare, run.median(), fairReps, jainTarget, overTarget), rows)
	return nil
}

// overload asks for four times what there is.
func (b *bench) overload(_ context.Context, a *alone, rate float64) error {
	const cameras = 40
	files := feed{clients: 2, class: infer.File, frames: int(rate / 3 * overloadTime.Seconds() / 2 * 0.8)}
	live := feed{clients: cameras, class: infer.Live, period: time.Duration(cameras / (4 * rate) * float64(time.Second))}
	out, err := a.serve(a.asInHub(), a.layouts[0].engines, overloadTime, false, live, files)
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

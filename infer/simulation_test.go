package infer_test

import (
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"detections/infer"
	"detections/infer/infertest"
)

// gpu is an engine that gains by batches: 667 images/s in batches of 16, 111 alone.
var gpu = infertest.Config{Price: infertest.Price{Run: 8 * ms, Image: ms}, MaxBatch: 16}

const (
	gpuBatch = 24 * ms // a full batch
	gpuRate  = 16 / 0.024
)

func lasting(t *testing.T, d time.Duration) time.Duration {
	if testing.Short() {
		return d / 8
	}
	return d
}

// row writes a line of a table into the test's log.
func row(t *testing.T, format string, args ...any) { fmt.Fprintf(t.Output(), format+"\n", args...) }

// Fifteen cameras ask for 45 % of what there is; somebody else wants everything.
func TestSimulationGreedyNeighbour(t *testing.T) {
	rate := 0.45 * gpuRate / 15
	polite := kind{name: "polite", n: 15, class: infer.Live, period: time.Duration(float64(time.Second) / rate)}
	idle := simulate(t, load{engine: gpu, kinds: []kind{polite}, lasts: lasting(t, 8*time.Second)}, fair)[0]
	row(t, "15 polite cameras, %.0f frames/s each: 45 %% of the capacity; without a neighbour p99 %v", rate, idle.p(0.99))
	row(t, "%-28s %-12s %10s %10s %10s %10s %12s", "neighbour", "policy", "served", "Jain", "p50", "p99", "neighbour/s")
	for _, greedy := range []kind{
		{name: "64 uploads of one client", n: 64, sessions: 64, class: infer.File},
		{name: "64 cameras of one client", n: 64, sessions: 64, class: infer.Live, period: 20 * ms},
		{name: "1 client with 64 pictures", n: 64, sessions: 64, class: infer.Image, slots: 1},
	} {
		for _, p := range policies {
			out := simulate(t, load{engine: gpu, kinds: []kind{polite, greedy}, lasts: lasting(t, 8*time.Second)}, p)
			o := out[0]
			_, served := out[1].total()
			asked, answered := o.total()
			row(t, "%-28s %-12s %8.1f %% %10.4f %10v %10v %12.0f", greedy.name, p.name, 100*float64(answered)/float64(asked), o.jain(), o.p(0.5).Round(ms/10), o.p(0.99).Round(ms/10), float64(served)/lasting(t, 8*time.Second).Seconds())
			if p.name != "fair" {
				continue
			}
			if float64(answered+polite.n) < 0.97*float64(asked) { // one of each is under way at the end
				t.Errorf("%s: the polite got %d of %d frames", greedy.name, answered, asked)
			}
			if o.jain() < 0.99 {
				t.Errorf("%s: Jain index %.4f over the polite, want 0.99", greedy.name, o.jain())
			}
			if limit := idle.p(0.99) + 2*gpuBatch; o.p(0.99) > limit {
				t.Errorf("%s: p99 of the polite %v, want at most %v", greedy.name, o.p(0.99), limit)
			}
		}
	}
}

// Cameras want four times what there is, and there are files, too.
func TestSimulationOverload(t *testing.T) {
	lasts := lasting(t, 8*time.Second)
	cameras := kind{name: "cameras", n: 1000, class: infer.Live, period: time.Duration(1000 / (4 * gpuRate) * float64(time.Second))}
	files := kind{name: "files", n: 4, class: infer.File, frames: int(gpuRate / 3 / 5 * lasts.Seconds())}
	row(t, "1000 cameras want four times what can be done, 4 files want some of it")
	row(t, "%-12s %12s %12s %12s %12s %12s", "policy", "live p50", "live p99", "live Jain", "live/s", "files")
	for _, p := range policies {
		out := simulate(t, load{engine: gpu, kinds: []kind{cameras, files}, lasts: lasts}, p)
		live := out[0]
		_, answered := out[1].total()
		_, served := live.total()
		asked := files.n * files.frames
		row(t, "%-12s %12v %12v %12.4f %12.0f %8d/%d", p.name, live.p(0.5).Round(ms), live.p(0.99).Round(ms), live.jain(), float64(served)/lasts.Seconds(), answered, asked)
		if p.name != "fair" {
			continue
		}
		if live.p(0.99) > infer.DefaultBudget {
			t.Errorf("p99 of live results %v, above the budget", live.p(0.99))
		}
		if asked != answered {
			t.Errorf("%d of %d frames of files were answered", answered, asked)
		}
	}
}

// A principal with a hundred sessions and one with one get the same, and one whose
// video is ten times as dear to decode gets as much of the processors' time.
func TestSimulationShares(t *testing.T) {
	lasts := lasting(t, 20*time.Second)
	row(t, "files of two clients on engines that share the cores with the decoders: images/s of each")
	row(t, "%-12s %24s %24s", "policy", "1 and 30 sessions", "decoding 2 and 20 ms")
	cpu := infertest.Config{Price: infertest.Price{Image: 20 * ms}, MaxBatch: 1}
	for _, p := range policies {
		l := load{engines: 2, engine: cpu, config: infer.BatcherConfig{SharedCores: true}, lasts: lasts, kinds: []kind{
			{name: "one", n: 1, class: infer.File}, {name: "many", n: 30, sessions: 30, class: infer.File},
		}}
		out := simulate(t, l, p)
		_, one := out[0].total()
		_, many := out[1].total()
		l.kinds = []kind{
			{name: "cheap", n: 4, sessions: 4, class: infer.File, decode: 2 * ms}, {name: "dear", n: 4, sessions: 4, class: infer.File, decode: 20 * ms},
		}
		out = simulate(t, l, p)
		_, cheap := out[0].total()
		_, dear := out[1].total()
		row(t, "%-12s %15.1f, %6.1f %16.1f, %6.1f", p.name, float64(one)/lasts.Seconds(), float64(many)/lasts.Seconds(), float64(cheap)/lasts.Seconds(), float64(dear)/lasts.Seconds())
		if p.name != "fair" {
			continue
		}
		if r := float64(one) / float64(many); r < 0.95 || r > 1.05 {
			t.Errorf("one session got %d images, thirty of another client %d", one, many)
		}
		if r := 22 * float64(cheap) / (40 * float64(dear)); r < 0.9 || r > 1.1 {
			t.Errorf("%d images of 22 ms, %d of 40 ms: not the same time", cheap, dear)
		}
	}
}

// What is learned is compared with every fixed choice of batch and delay.
func TestSimulationTuning(t *testing.T) {
	lasts := lasting(t, 2*time.Second)
	row(t, "clients that send the next frame 1 ms after the answer: images/s and p50, learned against the best of 24 fixed choices")
	row(t, "%-24s %8s %12s %12s %8s %10s %10s", "engine", "clients", "learned/s", "best/s", "ratio", "p50", "best p50")
	for _, e := range []struct {
		name string
		infertest.Config
	}{
		{"8 ms + 1 ms per image", gpu},
		{"1 ms + 1 ms per image", infertest.Config{Price: infertest.Price{Run: ms, Image: ms}, MaxBatch: 16}},
		{"0 ms + 8 ms per image", infertest.Config{Price: infertest.Price{Image: 8 * ms}, MaxBatch: 16}},
	} {
		for _, n := range []int{1, 2, 8, 64} {
			if testing.Short() && n > 8 {
				continue
			}
			l := load{engine: e.Config, lasts: lasts, kinds: []kind{{name: "closed", n: n, class: infer.Image, slots: 1, think: ms}}}
			_, learned := simulate(t, l, fair)[0].total()
			p50 := simulate(t, l, fair)[0].p(0.5)
			best, quickest := 0, time.Duration(math.MaxInt64)
			for _, batch := range []int{1, 4, 8, 16} {
				for _, delay := range []time.Duration{-1, ms, 2 * ms, 4 * ms, 8 * ms, 16 * ms} {
					l.config.MaxBatch, l.config.MaxDelay = batch, delay
					o := simulate(t, l, fair)[0]
					_, answered := o.total()
					best, quickest = max(best, answered), min(quickest, o.p(0.5))
				}
			}
			ratio := float64(learned) / float64(best)
			row(t, "%-24s %8d %12.0f %12.0f %8.3f %10v %10v", e.name, n, float64(learned)/lasts.Seconds(), float64(best)/lasts.Seconds(), ratio, p50.Round(ms/10), quickest.Round(ms/10))
			if ratio < 0.95 {
				t.Errorf("%s, %d clients: %.3f of the best fixed choice", e.name, n, ratio)
			}
			if n == 1 && float64(p50) > 1.1*float64(quickest) {
				t.Errorf("%s: a lone client waits %v, %v with the best fixed choice", e.name, p50, quickest)
			}
		}
	}
}

// A mix of everything. With DETECTIONS_SVG=file the distributions are drawn, too.
func TestSimulationMix(t *testing.T) {
	lasts := lasting(t, 8*time.Second)
	l := load{engine: gpu, lasts: lasts, kinds: []kind{
		{name: "60 cameras at 10 frames/s", n: 60, class: infer.Live, period: 100 * ms},
		{name: "8 files, as fast as they can", n: 8, class: infer.File},
		{name: "40 pictures/s", n: 8, class: infer.Image, period: 200 * ms},
	}}
	var curves []curve
	row(t, "%-12s %-30s %10s %10s %10s %10s", "policy", "class", "images/s", "p50", "p90", "p99")
	for _, p := range policies {
		for i, o := range simulate(t, l, p) {
			_, answered := o.total()
			row(t, "%-12s %-30s %10.0f %10v %10v %10v", p.name, l.kinds[i].name, float64(answered)/lasts.Seconds(), o.p(0.5).Round(ms/10), o.p(0.9).Round(ms/10), o.p(0.99).Round(ms/10))
			if p.name != "round robin" {
				curves = append(curves, curve{p.name, l.kinds[i].name, int(l.kinds[i].class), o})
			}
		}
	}
	if path := os.Getenv("DETECTIONS_SVG"); path != "" {
		if err := os.WriteFile(path, draw(curves), 0o644); err != nil {
			t.Error(err)
		}
	}
}

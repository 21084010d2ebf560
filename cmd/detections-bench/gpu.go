//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"detections/infer"
	"detections/infer/ort"
)

const (
	gpuBatch = 16
	gpuTime  = time.Second // of each figure
)

// gpu measures one GPU: its engines alone, the batcher before them, and the hub with
// uploads. The hub is one with --serve-arg=--providers=cuda.
func (b *bench) gpu(ctx context.Context) error {
	rows := [][]string{{"engines", "raw, batch 1", "4", "16", "1 session", "16", "64", "images a run", "of raw", "lone picture, ms", "raw", "GPU MiB"}}
	for _, n := range []int{1, 2, 3} {
		row, err := b.gpuEngines(n)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.out.table("GPU: images/s of engines alone, and of the batcher with sessions whose pictures are ready", rows)
	rows = [][]string{{"uploads at once", "frames/s", "images a run", "ms a run", "cores busy"}}
	for _, n := range []int{1, 4, 16} {
		row, err := b.gpuUploads(ctx, n)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	b.out.table("GPU: a hub, uploads of "+throughputClip, rows)
	return nil
}

// gpuEngines measures so many engines on one GPU.
func (b *bench) gpuEngines(n int) (row []string, err error) {
	file, model, err := embedded(b.library)
	if err != nil {
		return nil, err
	}
	a := &alone{model: model}
	var engines []infer.Engine
	defer func() {
		for _, e := range engines {
			err = errors.Join(err, e.Close())
		}
	}()
	for range n {
		e, err := ort.Open(file.Bytes, a.model, ort.Options{Providers: []string{"cuda"}, MaxBatch: gpuBatch})
		if err != nil {
			return nil, err
		}
		engines = append(engines, e)
		if w, ok := e.(interface{ Warm() }); ok {
			w.Warm()
		}
	}
	row = []string{fmt.Sprint(n)}
	best, alone := 0.0, 0.0
	for _, images := range []int{1, 4, gpuBatch} {
		m, err := infer.Measure(engines, images, gpuTime)
		if err != nil {
			return nil, err
		}
		if images == 1 {
			alone = 1000 * float64(n) / m.PerSecond()
		}
		best = max(best, m.PerSecond())
		row = append(row, fmt.Sprintf("%.0f", m.PerSecond()))
	}
	var runs, images atomic.Int64
	config := infer.BatcherConfig{OnRun: func(r infer.Run) { runs.Add(1); images.Add(int64(r.Images)) }}
	last := 0.0
	for _, sessions := range []int{1, 16, 64} {
		runs.Store(0)
		images.Store(0)
		out, err := a.serve(config, engines, gpuTime, false, feed{clients: sessions, class: infer.File})
		if err != nil {
			return nil, err
		}
		last = out[0].rate()
		row = append(row, fmt.Sprintf("%.0f", last))
	}
	out, err := a.serve(infer.BatcherConfig{}, engines, gpuTime, false, lone)
	if err != nil {
		return nil, err
	}
	used, err := exec.Command("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits").Output()
	if err != nil {
		used = []byte("?")
	}
	return append(row, fmt.Sprintf("%.1f", float64(images.Load())/float64(max(1, runs.Load()))), fmt.Sprintf("%.2f", last/best),
		fmt.Sprintf("%.2f", out[0].ages.median()), fmt.Sprintf("%.2f", alone), strings.TrimSpace(string(used))), nil
}

// gpuUploads sends so many files at once.
func (b *bench) gpuUploads(ctx context.Context, n int) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(b.media, throughputClip)) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, err
	}
	c := &clip{name: throughputClip, bytes: text}
	before, err := b.hub.metrics(ctx)
	if err != nil {
		return nil, err
	}
	begun, machine := time.Now(), machineNow()
	var all sync.WaitGroup
	frames, failed := make([]int, n), make([]error, n)
	for i := range n {
		all.Go(func() {
			var m measured
			m, failed[i] = b.session(ctx, c)
			frames[i] = m.frames + 1
		})
	}
	all.Wait()
	took, busy := time.Since(begun), machineNow().since(machine).busyShare()
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	grown, err := b.hub.grownSince(ctx, before)
	if err != nil {
		return nil, err
	}
	sum := 0
	for _, k := range frames {
		sum += k
	}
	runs := max(1, grown["detections_run_seconds_count"])
	return []string{
		fmt.Sprint(n), fmt.Sprintf("%.0f", float64(sum)/took.Seconds()), fmt.Sprintf("%.1f", float64(sum)/runs),
		fmt.Sprintf("%.2f", 1000*grown["detections_run_seconds_sum"]/runs), fmt.Sprintf("%.0f %%", 100*busy),
	}, b.hub.settled(ctx)
}

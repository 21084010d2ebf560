//go:build cgo

package main

import (
	"log/slog"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/web"
)

// batcher is what engines of one model are shared by.
func (s *settings) batcher(engines []infer.Engine, threads int, file loader.File, metrics *web.Metrics, log *slog.Logger) infer.BatcherConfig {
	model, provider := engines[0].Model(), engines[0].Identity().Provider
	return infer.BatcherConfig{
		Engines: engines, MaxBatch: s.schedule.maxBatch, MaxDelay: s.schedule.maxDelay, Shares: infer.Shares(s.schedule.shares),
		SharedCores: provider == "cpu", Logger: log, OnRun: metrics.ObserveRun,
		Reopen: func() (infer.Engine, error) {
			return ort.Open(file.Bytes, model, s.engine(provider, threads, log))
		},
		Solo: s.solo(engines, threads, file, log),
	}
}

// maxSolo bounds the threads of the engine for frames that are alone: a small network
// has no more to share out.
const maxSolo = 8

// solo opens an engine that has the processors of all engines, where that is another
// one than they are.
func (s *settings) solo(engines []infer.Engine, own int, file loader.File, log *slog.Logger) func() (infer.Engine, error) {
	model, provider := engines[0].Model(), engines[0].Identity().Provider
	threads := min(maxSolo, len(engines)*own)
	if !s.schedule.solo || provider != "cpu" || threads <= own {
		return nil
	}
	return func() (infer.Engine, error) {
		return ort.Open(file.Bytes, model, ort.Options{Providers: []string{provider}, Threads: threads, Spin: true, MaxBatch: 1, Logger: log})
	}
}

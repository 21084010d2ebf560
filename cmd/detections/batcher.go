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
	}
}

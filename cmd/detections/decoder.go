//go:build cgo

package main

import (
	"log/slog"
	"slices"

	"detections/hub"
	"detections/media/av"
	"detections/media/worker"
)

// isDecoder says whether this process was started to decode one input.
func isDecoder(args []string) bool { return slices.Equal(args, []string{worker.Argument}) }

// decode is such a process.
func decode() int {
	worker.Child(av.Decode)
	return 0
}

// newDecoders keeps decoder processes ready.
func newDecoders(s *settings, log *slog.Logger) *worker.Pool {
	// Pictures need decoders too, beside those of all sessions, and so do those of results.
	c := s.guard.workers(s.limits.Sessions + s.limits.Pictures + hub.Films)
	c.Idle, c.Log = s.warmWorkers, log
	return worker.NewPool(c)
}

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"detections/hub"
	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/web"
)

// loadEngines opens the model as often as the machine can use it.
func loadEngines(s *settings, metrics *web.Metrics, log *slog.Logger) hub.Load {
	return func(ctx context.Context, report func(hub.Availability, float64)) (*infer.Batcher, error) {
		file, err := s.file(ctx, func(p loader.Progress) { report(hub.Downloading, p.Percent()) })
		if err != nil {
			return nil, err
		}
		report(hub.Converting, 0)
		model, err := s.describe(file)
		if err != nil {
			return nil, err
		}
		engines, err := openEngines(ctx, s, file, model, report, log)
		if err != nil {
			return nil, err
		}
		b, err := infer.NewBatcher(s.batcher(engines, file, metrics, log))
		if err != nil {
			return nil, errors.Join(err, closeAll(engines))
		}
		return b, nil
	}
}

// describe loads ONNX Runtime and recognises the model.
func (s *settings) describe(file loader.File) (*infer.Model, error) {
	if err := ort.Init(s.ortLibrary); err != nil {
		return nil, err
	}
	m, err := ort.Describe(file.Bytes, file.Description)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name, err)
	}
	m.Name, m.Version, m.SHA256 = file.Name, file.Version, file.SHA256
	return m, nil
}

// openEngines opens the first, which tells the provider, and then its twins.
func openEngines(ctx context.Context, s *settings, file loader.File, m *infer.Model, report func(hub.Availability, float64), log *slog.Logger) ([]infer.Engine, error) {
	layout, err := s.layout(m.SHA256, runtime.GOMAXPROCS(0))
	if err != nil {
		log.Warn("the calibration cannot be used", "err", err)
	}
	s.threads = layout.Threads // those that are opened later have as many
	opts := ort.Options{Providers: s.providers, Threads: s.threads, MaxBatch: s.schedule.maxBatch, Logger: log}
	var engines []infer.Engine
	for n := 1; len(engines) < n; {
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), closeAll(engines))
		}
		e, err := ort.Open(file.Bytes, m, opts)
		if err != nil {
			return nil, errors.Join(err, closeAll(engines))
		}
		engines = append(engines, e)
		provider := e.Identity().Provider
		if n = max(1, s.engines); provider == "cpu" {
			n = layout.Engines
		}
		opts.Providers = []string{provider} // all of the same kind
		report(hub.Converting, 100*float64(len(engines))/float64(n))
	}
	// An engine in native code keeps a processor of Go's scheduler to itself until the
	// runtime's monitor takes it back. With one more for each, nothing waits for that.
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + len(engines))
	return engines, nil
}

func closeAll(engines []infer.Engine) error {
	var errs []error
	for _, e := range engines {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}

func versionText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "detections %s\n", version)
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintf(&b, "built with %s\n", info.GoVersion)
	}
	if file, err := loader.Embedded(); err == nil {
		fmt.Fprintf(&b, "model %s@%s\n", file.Name, file.Version)
	}
	return b.String()
}

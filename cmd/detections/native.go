//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
)

// describe loads ONNX Runtime and recognises the model.
func (s *settings) describe(file loader.File, priority ort.Priority) (*infer.Model, error) {
	if err := ort.Init(s.ortLibrary); err != nil {
		return nil, err
	}
	m, err := ort.DescribeWith(priority, file.Bytes, file.Description)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name, err)
	}
	m.Name, m.Version, m.SHA256 = file.Name, file.Version, file.SHA256
	return m, nil
}

// atStart is what Go's scheduler has: the cores, less if the container or the variable
// GOMAXPROCS says so.
var atStart = runtime.GOMAXPROCS(0)

// cores is how many processors there are to use.
func cores() int { return atStart }

// shareCores leaves half of the cores to engines and decoder processes. Whoever sets the
// variable has said how many are for Go.
func shareCores() {
	if os.Getenv("GOMAXPROCS") == "" {
		ort.ShareCores()
	}
}

// openEngines opens the model on a provider, as often as the machine can use it.
func openEngines(ctx context.Context, s *settings, file loader.File, m *infer.Model, provider string, priority ort.Priority, report func(float64), log *slog.Logger) (_ []infer.Engine, threads int, err error) {
	layout, err := s.layout(m.SHA256, cores())
	if err != nil {
		log.Warn("the calibration cannot be used", "err", err)
	}
	n := max(1, s.engines)
	if provider == "cpu" {
		n = layout.Engines
	}
	o := s.engine(provider, layout.Threads, log)
	o.Priority = priority
	open := func() (infer.Engine, error) { return ort.Open(file.Bytes, m, o) }
	atOnce := 1
	if priority == ort.Normal && provider == "cpu" {
		atOnce = loadedAtOnce(cores(), len(file.Bytes))
	}
	engines, err := openAll(ctx, n, atOnce, open, report)
	if err != nil {
		return nil, 0, errors.Join(err, closeAll(engines))
	}
	return engines, layout.Threads, nil
}

// To load a file takes so many times its size for a moment, beside what the engine keeps:
// 12 MB for the embedded model. All that are loaded at once may take so much of it.
const (
	loadTimes = 3
	loadRoom  = 512 << 20
)

// loadedAtOnce is how many engines of a file of so many bytes are loaded at the same time.
func loadedAtOnce(cores, size int) int {
	return max(1, min(cores, loadRoom/loadTimes/max(1, size)))
}

// openAll opens so many engines, some of them at once, until one cannot be opened; report is
// told percent. With an error come those that were opened.
func openAll(ctx context.Context, n, atOnce int, open func() (infer.Engine, error), report func(float64)) (engines []infer.Engine, err error) {
	var mu sync.Mutex
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(atOnce)
	for range n {
		work.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			e, err := open()
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			engines = append(engines, e)
			report(100 * float64(len(engines)) / float64(n))
			return nil
		})
	}
	err = work.Wait()
	return engines, err
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

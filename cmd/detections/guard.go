package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"detections/media/worker"
	"detections/sandbox"
)

// guard is what keeps hostile media in its place: the sandbox of decoder processes.
type guard struct {
	sandbox  string
	memory   int64
	frameCPU time.Duration
}

func (g *guard) flags(f *pflag.FlagSet) {
	g.memory = worker.DefaultMemory
	f.StringVar(&g.sandbox, "sandbox", string(sandbox.BestEffort), "of decoder processes: best-effort, every layer that the kernel has; require, every layer or no start; off, for tests only")
	f.Var((*byteSize)(&g.memory), "worker-memory", "most bytes of data of one decoder process")
	f.DurationVar(&g.frameCPU, "max-frame-cpu", worker.DefaultFrameCPU, "most processor time for one packet or picture")
}

// minMemory is what a decoder process needs for itself, and for a small picture.
const minMemory = 64 << 20

func (g *guard) validate() error {
	var errs []error
	if !slices.Contains(sandbox.Modes, g.sandbox) {
		errs = append(errs, fmt.Errorf("sandbox: expected one of %s, got %q", strings.Join(sandbox.Modes, ", "), g.sandbox))
	}
	if g.memory < minMemory {
		errs = append(errs, fmt.Errorf("worker-memory: expected at least %d, got %d", minMemory, g.memory))
	}
	if g.frameCPU < time.Second {
		errs = append(errs, fmt.Errorf("max-frame-cpu: expected at least %v, got %v", time.Second, g.frameCPU))
	}
	return errors.Join(errs...)
}

// workers is how decoder processes are made, for as many jobs.
func (g *guard) workers(jobs int) worker.Config {
	return worker.Config{Max: jobs, Sandbox: sandbox.Mode(g.sandbox), Memory: g.memory, FrameCPU: g.frameCPU}
}

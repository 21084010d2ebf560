package main

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"

	"detections/hub"
	"detections/media"
	"detections/media/worker"
	"detections/media/worker/sandbox"
)

// guard is what keeps hostile media in its place: the sandbox of decoder processes, and
// limits of what they decode.
type guard struct {
	media    media.Limits
	sandbox  string
	memory   int64
	frameCPU time.Duration
}

func (g *guard) flags(f *pflag.FlagSet) {
	g.memory = worker.DefaultMemory
	f.StringVar(&g.sandbox, "sandbox", string(sandbox.BestEffort), "of decoder processes: best-effort, every layer that the kernel has; require, every layer or no start; off, for tests only")
	f.Var((*byteSize)(&g.memory), "worker-memory", "most bytes of data of one decoder process")
	f.DurationVar(&g.frameCPU, "max-frame-cpu", worker.DefaultFrameCPU, "most processor time for one packet or picture")
	d := media.DefaultLimits
	g.media.Probe = d.Probe
	f.StringSliceVar(&g.media.Containers, "containers", nil, "containers that are taken; default: all")
	f.StringSliceVar(&g.media.Codecs, "codecs", nil, "codecs that are decoded; default: all")
	f.Int64Var(&g.media.Pixels, "max-pixels", d.Pixels, "most pixels of a video's picture or a still one")
	f.Float64Var(&g.media.FrameRate, "max-frame-rate", d.FrameRate, "most frames per second of a video, declared or in any second of it")
	f.DurationVar(&g.media.Duration, "max-duration", d.Duration, "how long a video may last, declared or reached; live ones may go on for ever")
	f.IntVar(&g.media.Streams, "max-streams", d.Streams, "most streams in one input")
	f.Var((*byteSize)(&g.media.Probe), "probe-size", "bytes of an input within which its video must show up")
	f.IntVar(&g.media.ProbePackets, "probe-packets", d.ProbePackets, "packets of an input within which its video must show up")
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
	return errors.Join(append(errs, g.media.Validate())...)
}

// hubLimits are the limits as the hub takes them: there 0 is the default, here none. There
// are no more sessions than the memory is enough for, unless the operator wants them.
func (s *settings) hubLimits(log *slog.Logger) hub.Limits {
	l := s.limits
	l.DecodeCores = s.schedule.decodeCores(cores())
	memory, _ := memoryOf("/")
	switch room := sessionRoom(memory); {
	case room == 0 || room >= l.Sessions:
	case s.sessionsGiven != nil && s.sessionsGiven.Changed:
		log.Warn("there may not be memory for so many sessions", "max-sessions", l.Sessions, "room", room, "memory", humanize.IBytes(uint64(memory)))
	default:
		log.Warn("sessions are limited by memory", "sessions", room, "default", l.Sessions, "memory", humanize.IBytes(uint64(memory)))
		l.Sessions = room
	}
	if l.Rates.Least == 0 {
		l.Rates.Least = -1
	}
	return l
}

// workers is how decoder processes are made, for as many jobs.
func (g *guard) workers(jobs int) worker.Config {
	return worker.Config{Max: jobs, Sandbox: sandbox.Mode(g.sandbox), Memory: g.memory, FrameCPU: g.frameCPU, Limits: g.media}
}

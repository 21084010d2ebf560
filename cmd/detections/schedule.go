package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"detections/hub"
	"detections/infer"
)

// schedule are the settings of the batcher. None is needed.
type schedule struct {
	maxBatch int
	maxDelay time.Duration
	shares   shares
	solo     bool
	// decoders is the share of the cores that the decoders of one client may use.
	decoders float64
}

func (s *schedule) flags(f *pflag.FlagSet) {
	f.IntVar(&s.maxBatch, "max-batch", 0, "most images in one run of the engine; 0: what suits the provider")
	f.DurationVar(&s.maxDelay, "max-delay", 0, "how long a batch that is not full waits for more frames; 0: as long as is learned to pay, negative: not at all")
	f.BoolVar(&s.solo, "solo", true, "on the CPU, one instance more that has all cores, for a picture or live frame that comes while nothing else is to be done: half the latency, for about 40 MB; opened after eight such frames in a row")
	f.Float64Var(&s.decoders, "decode-share", 0.5, "share of the processor cores that the decoders of one client may keep busy, in the mean over a second, but one core at least; 1: all")
	s.shares = shares(infer.DefaultShares)
	f.Var(&s.shares, "shares", "what live video, files and pictures get of the engines when all want more than there is, as live:file:image, 0.1 to 10 each")
}

// decodeCores is how many cores the decoders of one client may keep busy; 0: all.
func (s *schedule) decodeCores(cores int) float64 {
	if s.decoders >= 1 {
		return 0
	}
	return max(1, s.decoders*float64(cores))
}

// capacity are the settings of who is admitted.
func capacity(l *hub.Limits, f *pflag.FlagSet) {
	d := hub.DefaultLimits
	f.IntVar(&l.Files, "max-files", d.Files, "most files that are decoded at once; more wait for their turn")
	f.IntVar(&l.PerPrincipal, "max-per-client", d.PerPrincipal, "most sessions of one client that run at once; 0: any number")
	f.Float64Var(&l.FrameRate, "max-frame-rate-per-client", d.FrameRate, "most frames per second that are inferred for one client: those of files wait, live ones are dropped, pictures are refused; 0: any number")
	f.Var((*byteSize)(&l.ByteRate), "max-byte-rate-per-client", "most bytes of media per second that are taken from one client: it is held up, and of what it sends over WebRTC pictures are left out; 0: any number")
	f.Float64Var(&l.MinRate, "min-rate", d.MinRate, "frames per second that every live session must be able to get, or another one is refused")
}

// shares can be written as 4:2:2.
type shares infer.Shares

// String implements pflag.Value.
func (s *shares) String() string {
	parts := make([]string, len(s))
	for c, v := range s {
		parts[c] = strconv.FormatFloat(v, 'g', -1, 64)
	}
	return strings.Join(parts, ":")
}

// Set implements pflag.Value.
func (s *shares) Set(text string) error {
	parts := strings.Split(text, ":")
	if len(parts) != len(s) {
		return fmt.Errorf("expected three numbers as in 4:2:2, got %q", text)
	}
	for c, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || !(v >= infer.MinWeight && v <= infer.MaxWeight) {
			return fmt.Errorf("expected numbers from %v to %v as in 4:2:2, got %q", infer.MinWeight, infer.MaxWeight, part)
		}
		s[c] = v
	}
	return nil
}

// Type implements pflag.Value.
func (*shares) Type() string { return "shares" }

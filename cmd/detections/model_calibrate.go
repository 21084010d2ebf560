//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"detections/infer"
	"detections/infer/ort"
)

// How long each layout is measured in one pass, and how many passes there are: the
// layouts take turns, so that a machine that becomes slower is so for all of them.
const (
	calibrateFor    = 400 * time.Millisecond
	calibratePasses = 3
	// better is by how much a layout must beat one engine for each core: what is
	// measured varies by that much.
	better = 1.03
)

func newModelCalibrate() *cobra.Command {
	s := new(settings)
	flags := s.flags()
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Find the best number of engines and threads for this machine's processors",
		Long: `Measure the model with different numbers of engines and threads on the processors,
which takes a few seconds, and remember the best in the data directory. The hub uses it
from its next start on, unless --engines or --threads says something else. Without it,
there is one engine of one thread for every core.

Nothing else should run meanwhile. A GPU has nothing to calibrate.`,
		Example: `  detections model calibrate
  detections model calibrate --data /var/lib/detections --model people.onnx`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(complete(flags, os.Getenv), s.validate()); err != nil {
				return &usageError{err}
			}
			return calibrate(cmd.Context(), cmd.OutOrStdout(), s)
		},
	}
	for _, name := range []string{"data", "model", "classes", "loader-url", "loader-path", "loader-token-file", "ort-library", "config"} {
		cmd.Flags().AddFlag(flags.Lookup(name))
	}
	return cmd
}

// calibrate measures every layout and writes down the best.
func calibrate(ctx context.Context, out io.Writer, s *settings) error {
	file, err := s.file(ctx, nil)
	if err != nil {
		return err
	}
	model, err := s.describe(file, ort.Normal)
	if err != nil {
		return err
	}
	cores := cores()
	all := layouts(cores)
	shareCores() // as in the hub
	rates := make([][]float64, len(all))
	for range calibratePasses {
		for i, l := range all {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			rate, err := measure(file.Bytes, model, l)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], rate)
		}
	}
	best := 0
	for i := range all {
		slices.Sort(rates[i])
		if rates[i][calibratePasses/2] > rates[best][calibratePasses/2]*better {
			best = i
		}
	}
	for i, l := range all {
		mark := ""
		if i == best {
			mark = "  ← best"
		}
		fmt.Fprintf(out, "%3d engines × %d threads: %7.1f images/s [%.1f–%.1f]%s\n",
			l.Engines, l.Threads, rates[i][calibratePasses/2], rates[i][0], rates[i][calibratePasses-1], mark)
	}
	known, err := readCalibrations(s.data)
	if err != nil {
		known = calibrations{} // it is written anew
	}
	known[calibrationKey(model.SHA256, cores)] = calibration{layout: all[best], Rate: rates[best][calibratePasses/2], Measured: time.Now().UTC().Round(time.Second)}
	if err := known.write(s.data); err != nil {
		return fmt.Errorf("remember the calibration: %w", err)
	}
	fmt.Fprintf(out, "remembered in %s\n", calibrationPath(s.data))
	return nil
}

// measure is how many images per second a layout does.
func measure(model []byte, m *infer.Model, l layout) (rate float64, err error) {
	var engines []infer.Engine
	defer func() { err = errors.Join(err, closeAll(engines)) }()
	for range l.Engines {
		e, err := ort.Open(model, m, ort.Options{Providers: []string{"cpu"}, Threads: l.Threads})
		if err != nil {
			return 0, err
		}
		engines = append(engines, e)
	}
	done, err := infer.Measure(engines, 1, calibrateFor)
	return done.PerSecond(), err
}

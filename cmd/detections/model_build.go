//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
)

func newModelBuild() *cobra.Command {
	s := new(settings)
	flags := s.flags()
	var child, spare bool
	var memory int64
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build ahead what execution providers need, so that the hub starts with it",
		Long: `Load the model on each execution provider, build first what it needs, and run it
once. TensorRT builds an engine for this model, this GPU and these settings, which
takes minutes; it is kept in the data directory, and the hub, which never builds one
itself, takes it from there. Run this when the program is deployed, with the settings
of the hub; otherwise the hub has it done in the background while another provider
serves.

Exit status: 0 a provider works, 1 none does, 2 the command line makes no sense.`,
		Example: `  detections model build
  detections model build --data /var/lib/detections --model people.onnx --precision fp16`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if child {
				if err := beModest(memory, spare); err != nil {
					return err
				}
			}
			if err := errors.Join(complete(flags, os.Getenv), s.validate()); err != nil {
				return &usageError{err}
			}
			return buildAll(cmd.Context(), cmd.OutOrStdout(), s)
		},
	}
	for _, name := range append([]string{"data", "model", "ort-library", "config", "providers", "max-batch"}, gpuFlags...) {
		cmd.Flags().AddFlag(flags.Lookup(name))
	}
	cmd.Flags().BoolVar(&child, "child", false, "give way to the hub")
	cmd.Flags().BoolVar(&spare, "spare", false, "take only the time that nobody else wants")
	cmd.Flags().Int64Var(&memory, "memory", 0, "most bytes of memory; 0: any number")
	for _, name := range []string{"child", "spare", "memory"} {
		if err := cmd.Flags().MarkHidden(name); err != nil {
			panic(err) // it was defined above
		}
	}
	return cmd
}

// buildAll makes every provider ready, and tries it.
func buildAll(ctx context.Context, out io.Writer, s *settings) error {
	file, err := s.file(ctx, nil)
	if err != nil {
		return err
	}
	m, err := s.describe(file, ort.Normal)
	if err != nil {
		return err
	}
	var why []string
	for _, p := range s.providers {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		begun := time.Now()
		if err := buildOne(s, file, m, p); err != nil {
			why = append(why, p+": "+err.Error())
			fmt.Fprintf(out, "%-9s %s\n", p, err)
			continue
		}
		fmt.Fprintf(out, "%-9s ready, %.1f s\n", p, time.Since(begun).Seconds())
	}
	if len(why) == len(s.providers) {
		if len(why) == 1 {
			return errors.New(strings.TrimPrefix(why[0], s.providers[0]+": "))
		}
		return fmt.Errorf("no execution provider works: %s", strings.Join(why, "; "))
	}
	return nil
}

func buildOne(s *settings, file loader.File, m *infer.Model, provider string) error {
	o := s.engine(provider, 1, slog.New(slog.DiscardHandler))
	if provider != "cpu" {
		built, err := ort.IsBuilt(m, o)
		if err != nil {
			return err
		}
		if !built {
			if err := ort.Build(file.Bytes, m, o); err != nil {
				return err
			}
		}
	}
	e, err := ort.Open(file.Bytes, m, o)
	if err != nil {
		return err
	}
	return e.Close()
}

// buildTimes are how long providers took to build the last time.
type buildTimes map[string]float64 // seconds

func (s *settings) buildTimesPath() string { return filepath.Join(s.data, "engines", "times.json") }

func (s *settings) buildTimes() buildTimes {
	t := buildTimes{}
	text, err := os.ReadFile(s.buildTimesPath())
	if err != nil || json.Unmarshal(text, &t) != nil {
		return buildTimes{} // it is a guess, and there is none
	}
	return t
}

func (s *settings) buildTime(provider string) time.Duration {
	return time.Duration(s.buildTimes()[provider] * float64(time.Second))
}

func (s *settings) rememberBuild(provider string, d time.Duration) {
	t := s.buildTimes()
	t[provider] = d.Seconds()
	if text, err := json.Marshal(t); err == nil {
		_ = os.WriteFile(s.buildTimesPath(), text, 0o600) // a guess less
	}
}

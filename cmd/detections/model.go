package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

func newModel() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Look at a model, measure it, and try it on pictures",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newModelInspect(), newModelTry(), newModelCalibrate(), newModelBuild())
	return cmd
}

// modelAndMore checks that a model and, if asked for, something after it are named.
func modelAndMore(least int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || least == 1 && len(args) > 1 {
			return &usageError{fmt.Errorf("%s: expected %s", cmd.Name(), what)}
		}
		return nil
	}
}

func newModelInspect() *cobra.Command {
	var each time.Duration
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a model is, how its outputs are read, and how fast it is here",
		Long: `Say what a model is: its inputs and outputs, the head by which its outputs are read,
how pixels go in, and its labels; then measure it on every execution provider of
DETECTIONS_PROVIDERS that works here, in batches of 1, 2, 4 and 8, and recommend
settings. A JSON file beside the model overrides what is recognised: people.json for
people.onnx, or else model.json. docs/models.md describes it.

Times are those of one engine with DETECTIONS_THREADS threads (1 unless set);
the hub runs one for each processor core.

Exit status: 0 the model can be used, 1 it cannot, 2 the command line makes no sense.`,
		Example: `  detections model inspect people.onnx
  detections model inspect --time 0 people.onnx`,
		Args: modelAndMore(1, "the ONNX file of a model"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if each < 0 || each > time.Minute {
				return &usageError{fmt.Errorf("--time: expected 0 to 1m, got %v", each)}
			}
			s, err := localSettings(args[0])
			if err != nil {
				return err
			}
			return inspect(cmd.Context(), cmd.OutOrStdout(), s, each)
		},
	}
	cmd.Flags().DurationVar(&each, "time", 500*time.Millisecond, "how long each batch size is measured; 0: not at all")
	return cmd
}

func newModelTry() *cobra.Command {
	o := detectOptions{local: true, format: "text", jobs: 1, patience: time.Second}
	cmd := &cobra.Command{
		Use:   "try FILE IMAGE…",
		Short: "Run a model on pictures, and draw what it finds",
		Long: `Run a model on pictures and videos, print a summary of what it finds, and write
copies with boxes drawn on them. It is detect --local --model FILE --save-frames.`,
		Example: `  detections model try people.onnx street.jpg
  detections model try --threshold 0.25 --out boxes people.onnx pictures/`,
		Args: modelAndMore(2, "the ONNX file of a model, and pictures"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.model = args[0]
			if err := o.check(cmd, args[1:]); err != nil {
				return &usageError{err}
			}
			if err := o.apart(args[1:]); err != nil {
				return &usageError{err}
			}
			return detect(cmd.Context(), &o, args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.saveTo, "out", "boxes", "write the pictures into this `folder`")
	f.Float64Var(&o.threshold, "threshold", 0, "least confidence of a detection, 0.01 to 1; default 0.45")
	f.Float64Var(&o.iou, "iou", 0, "overlap above which two boxes are one object, 0 to 1; default 0.5")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress and no summaries, only errors")
	return cmd
}

// apart says whether a picture would be written over the one that it was made of.
func (o *detectOptions) apart(inputs []string) error {
	to, err := os.Stat(o.saveTo)
	if err != nil {
		return nil //nolint:nilerr // it is made
	}
	for _, in := range inputs {
		if from, err := os.Stat(filepath.Dir(in)); err == nil && os.SameFile(from, to) {
			return errors.New("--out: " + o.saveTo + " has the pictures themselves; name another folder")
		}
	}
	return nil
}

// Command detections is a realtime detection server: it takes video over
// WebSockets and HTTP and answers with what is seen in it while it still arrives.
//
// It is also its own decoder process: started with the hidden argument
// worker.Argument it decodes one input and ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// version is set when the program is built.
var version = "unknown"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if isDecoder(args) {
		return decode()
	}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(context.Background())
	if err == nil {
		return 0
	}
	status := statusOf(err)
	if !errors.Is(err, errSaid) {
		fmt.Fprintln(stderr, "detections:", err)
	}
	if status == exitUsage {
		fmt.Fprintf(stderr, "Try '%s --help'.\n", cmd.CommandPath())
	}
	return status
}

// usageError is a command line or configuration that makes no sense.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "detections",
		Short: "Realtime object detection in video, over WebSockets and HTTP",
		Long: `Detections finds objects in video while it still arrives.

Find out what is in a video, without anything else:
  detections detect --local video.mp4

Or start the hub, and send it videos and pictures from anywhere:
  detections serve
  detections detect video.mp4 picture.jpg
  curl -T video.mp4 http://127.0.0.1:8080/detect/video`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newServe(), newDetect(), newHealth(), newModel(), newOutbox(), newKey(), newSettings(), newMan(), newVersion())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) > 0 && !cmd.HasParent():
		return &usageError{fmt.Errorf("there is no command %q", args[0])}
	case len(args) > 0:
		return &usageError{fmt.Errorf("%s: unexpected %q", cmd.Name(), args[0])}
	}
	return nil
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of the program and of what it is built from",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), versionText())
			return err
		},
	}
}

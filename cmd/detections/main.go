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

// run is the program: it returns the exit status, 0 for success, 1 for a failure
// and 2 for a command line that makes no sense.
func run(args []string, stdout, stderr io.Writer) int {
	if isDecoder(args) {
		return decode()
	}
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "detections:", err)
	if _, usage := errors.AsType[*usageError](err); usage {
		fmt.Fprintln(stderr, "Try 'detections --help'.")
		return 2
	}
	return 1
}

// usageError is a command line or configuration that makes no sense.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "detections",
		Short: "Realtime object detection in video, over WebSockets and HTTP",
		Long: `Detections finds objects in video while it still arrives.

Start the hub:
  detections serve

Send it a video, and watch the detections come back before the upload is over:
  curl -T video.mp4 http://127.0.0.1:8080/detect/video
Send it a picture:
  curl --data-binary @picture.jpg http://127.0.0.1:8080/detect`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newServe(), newSettings(), newVersion())
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("%s: unexpected %q", cmd.CommandPath(), args[0])}
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

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"detections/session/client"
	"detections/session/wire"
)

// defaultHub is where serve listens unless told otherwise.
const defaultHub = "http://127.0.0.1:8080"

// detectOptions are the flags of detect.
type detectOptions struct {
	remote    remote
	local     bool
	model     string
	jobs      int
	format    string
	output    string
	saveTo    string
	quiet     bool
	patience  time.Duration
	fps       float64
	every     int
	threshold float64
	iou       float64
	iouGiven  bool
	labels    []string
	nonEmpty  bool
	track     bool
	live      bool
	container string
	known     bool
}

func newDetect() *cobra.Command {
	var o detectOptions
	cmd := &cobra.Command{
		Use:   "detect FILE|DIR|URL|- …",
		Short: "Find objects in videos and pictures",
		Long: `Send videos and pictures to a hub, and print what it finds in them.

A folder stands for every video and picture below it, a URL is fetched and passed
on as it arrives, - is the standard input. Results are printed while the upload
still runs, and a lost connection is taken up again where it broke.

Formats:

    text    a summary of each input (the default)
    ndjson  a line of JSON for every event, as it comes
    json    one array with an object for each input, once it is done
    csv     a row for every object that was found, as it comes

--save-frames writes pictures with boxes drawn on them. Of a video the client has
no pictures, only the hub: there it takes --local, and files.

Ctrl-C stops, and keeps the results so far; a second Ctrl-C ends at once.

Exit status: 0 all inputs were done, 1 some input failed, 2 the command line makes
no sense, 3 the hub cannot be reached or is none, 130 interrupted.`,
		Example: `  detections detect video.mp4
  detections detect --fps 2 --labels person,car --format csv --output found.csv videos/
  detections detect --local --save-frames boxes picture.jpg video.mp4
  ffmpeg -i rtsp://camera/1 -c copy -f mpegts - | detections detect --live --format ndjson -
  detections detect --hub https://hub.example.org https://example.org/video.mp4`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd, args); err != nil {
				return &usageError{err}
			}
			return detect(cmd.Context(), &o, args)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *detectOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	o.remote.flags(cmd)
	f.BoolVar(&o.local, "local", false, "without a hub: do everything in this process (DETECTIONS_… settings of serve apply)")
	f.StringVar(&o.model, "model", "", "with --local: ONNX `file` of another model, described by the JSON file beside it")
	f.StringVarP(&o.format, "format", "f", "text", "text, json, ndjson or csv")
	f.StringVarP(&o.output, "output", "o", "", "write results to a `file`, or with a folder one file for each input")
	f.StringVar(&o.saveTo, "save-frames", "", "write pictures with boxes into this `folder`; of videos only with --local")
	f.Float64Var(&o.fps, "fps", 0, "look at so many frames per second of video at most; default: every frame")
	f.IntVar(&o.every, "every", 0, "look at every n-th frame")
	f.Float64Var(&o.threshold, "threshold", 0, "least confidence of a detection, 0.01 to 1; default 0.45")
	f.Float64Var(&o.iou, "iou", 0, "overlap above which two boxes are one object, 0 to 1; default 0.5")
	f.StringSliceVar(&o.labels, "labels", nil, "only these kinds of `objects`, such as person,car; default: all")
	f.BoolVar(&o.track, "track", false, "number the objects: the same one has the same number in every frame")
	f.BoolVar(&o.nonEmpty, "nonempty", false, "leave out frames in which nothing was found")
	f.BoolVar(&o.live, "live", false, "stay up to date: drop frames if the hub is slower than the input")
	f.StringVar(&o.container, "container", "", "`format` of the input, if its bytes do not tell")
	f.BoolVar(&o.known, "known", false, "read files twice: first for their hash, so that what the hub has results of already need not be sent")
	f.IntVarP(&o.jobs, "jobs", "j", 2, "inputs at a time, 1 to 64")
	f.DurationVar(&o.patience, "retry-for", 2*time.Minute, "how long a hub that is lost is tried again")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "no progress and no summaries beside the results, only errors")
	choose := func(flag string, values ...string) {
		// The flag exists.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	choose("format", "text", "json", "ndjson", "csv")
}

// check says what makes no sense.
func (o *detectOptions) check(cmd *cobra.Command, args []string) error {
	stdin := 0
	for _, a := range args {
		if a == "-" {
			stdin++
		}
	}
	switch {
	case len(args) == 0:
		return errors.New("name a file, a folder, a URL, or - for the standard input")
	case stdin > 1:
		return errors.New("the standard input can be read only once")
	case formats[o.format] == nil:
		return fmt.Errorf("--format: expected text, json, ndjson or csv, got %q", o.format)
	case o.jobs < 1 || o.jobs > 64:
		return fmt.Errorf("--jobs: expected 1 to 64, got %d", o.jobs)
	case o.local && cmd.Flags().Changed("hub"):
		return errors.New("give --hub or --local, not both")
	case o.model != "" && !o.local:
		return errors.New("--model: a hub has its own model; give --local too")
	case o.fps != 0 && o.every != 0:
		return errors.New("give --fps or --every, not both")
	}
	for _, f := range []string{"fps", "every", "threshold"} {
		if v := cmd.Flags().Lookup(f); v != nil && v.Changed && v.Value.String() == "0" {
			return fmt.Errorf("--%s: must be above 0", f)
		}
	}
	o.iouGiven = cmd.Flags().Changed("iou")
	start := o.start(&input{})
	if err := start.Validate(); err != nil {
		return inFlags(err)
	}
	return nil
}

// inFlags says what is wrong with the start message in terms of the command line.
func inFlags(err error) error {
	return errors.New(strings.NewReplacer("detect.", "--", "sample: fps", "--fps", "sample: every", "--every").Replace(err.Error()))
}

// start is what the hub is asked to do with an input.
func (o *detectOptions) start(in *input) wire.Start {
	m := wire.Start{Detect: o.detect(), Track: o.track, Media: wire.Media{Name: in.base(), Size: in.size, Container: o.container}}
	if o.fps != 0 || o.every != 0 {
		m.Sample = &wire.Sample{FPS: o.fps, Every: o.every}
	}
	if o.nonEmpty {
		m.Results = wire.NonEmpty
	}
	if o.live {
		m.Mode = wire.Live
	}
	return m
}

// detect is what counts as a detection; nil: the hub's defaults.
func (o *detectOptions) detect() *wire.Detect {
	d := wire.Detect{Labels: o.labels}
	if o.threshold != 0 {
		d.Threshold = &o.threshold
	}
	if o.iouGiven {
		d.IoU = &o.iou
	}
	if d.Threshold == nil && d.IoU == nil && d.Labels == nil {
		return nil
	}
	return &d
}

// detector is one run of detect.
type detector struct {
	// Static after construction.
	*detectOptions
	screen *screen
	client *client.Client
	here   *parts // nil: the hub is elsewhere
	out    *output
	stop   context.CancelCauseFunc

	// Guarded by mu.
	mu     sync.Mutex
	done   int
	failed int
	broken error // what makes going on useless
}

// errInterrupted is Ctrl-C.
var errInterrupted = errors.New("interrupted")

// detect is the command.
func detect(ctx context.Context, o *detectOptions, args []string) (err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d := &detector{detectOptions: o, screen: newScreen(o.quiet), stop: stop}
	defer d.screen.close()
	defer d.onInterrupt()()
	inputs := d.find(args)
	if len(inputs) == 0 {
		return &exitError{exitFailed, errSaid}
	}
	leave, err := d.connect(ctx)
	defer closing(&err, leave)
	if err != nil {
		return err
	}
	if d.out, err = newOutput(o, d.screen); err != nil {
		return err
	}
	d.work(ctx, inputs)
	if err := d.out.close(); err != nil {
		d.giveUp(err)
	}
	d.screen.close()
	return d.verdict(ctx, len(inputs))
}

// sameSignal is how soon after a signal another one is the same keystroke.
const sameSignal = 300 * time.Millisecond

// onInterrupt makes the first Ctrl-C stop the work, and the second end the program.
func (d *detector) onInterrupt() (forget func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	over := make(chan struct{})
	go func() {
		select {
		case <-signals:
			d.screen.note("stopping; the results so far are kept (Ctrl-C again ends at once)")
			d.stop(errInterrupted)
		case <-over:
			return
		}
		// Wrappers pass on the signal that the terminal has sent to everybody.
		time.Sleep(sameSignal)
		for len(signals) > 0 {
			<-signals
		}
		select {
		case <-signals:
			d.screen.close()
			removeLocal()
			os.Exit(exitInterrupted)
		case <-over:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(over)
	}
}

// connect finds the hub, or makes one. leave undoes it, also after an error.
func (d *detector) connect(ctx context.Context) (leave func() error, err error) {
	leave = func() error { return nil }
	cfg := d.remote.config()
	cfg.Patience = d.patience
	if d.detectOptions.local {
		l, err := startLocal(ctx, d.model)
		if l != nil {
			leave = l.close
		}
		if err != nil {
			return leave, err
		}
		d.here, cfg.URL, cfg.HTTP, cfg.Token = l.parts, "http://localhost", l.client, nil
		if err := l.ready(ctx); err != nil {
			return leave, err
		}
	}
	if d.client, err = client.New(cfg); err != nil {
		return leave, &usageError{err}
	}
	if _, err := askHealth(ctx, d.client); err != nil {
		return leave, err
	}
	return leave, nil
}

// work gives the inputs to as many goroutines as there are jobs, and waits for all.
func (d *detector) work(ctx context.Context, inputs []*input) {
	queue := make(chan *input)
	var jobs sync.WaitGroup
	for range min(d.jobs, len(inputs)) {
		jobs.Go(func() {
			for in := range queue {
				d.one(ctx, in)
			}
		})
	}
	for _, in := range inputs {
		select {
		case queue <- in:
		case <-ctx.Done():
		}
	}
	close(queue)
	jobs.Wait()
}

// giveUp ends everything: nothing that is still to be done can succeed.
func (d *detector) giveUp(err error) {
	d.mu.Lock()
	if d.broken == nil {
		d.broken = err
	}
	d.mu.Unlock()
	d.stop(err)
}

// complain says why an input failed.
func (d *detector) complain(name string, err error) {
	d.screen.err("%s: %s", name, inWords(err))
	d.mu.Lock()
	d.failed++
	d.mu.Unlock()
}

// verdict is how the run went.
func (d *detector) verdict(ctx context.Context, n int) error {
	switch {
	case d.broken != nil:
		return d.broken
	case errors.Is(context.Cause(ctx), errInterrupted):
		where := ""
		if d.output != "" {
			where = " in " + d.output
		}
		return &exitError{exitInterrupted, fmt.Errorf("interrupted: %d of %d inputs done; the results so far are kept%s", d.done, n, where)}
	case d.failed > 0:
		return &exitError{exitFailed, errSaid}
	}
	return nil
}

// inWords says an error to people.
func inWords(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return fmt.Sprintf("%s (%s)", e.Message, e.Code)
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}

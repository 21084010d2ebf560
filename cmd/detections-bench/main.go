//go:build cgo

// Command detections-bench measures the program from outside: it starts
// bin/detections as a child process, sends real media over real sockets, and prints
// one table for each question, with the target beside the figure.
//
// What is compared was measured in the same run: repetitions are interleaved, a
// figure is their median and [lowest–highest] stands behind it. The questions:
//
//	first       time from the byte that completes the first picture to its detections
//	throughput  one file session against what decoding and inferring cost alone
//	allocs      allocations per frame from shared memory to detections
//	media       every container and codec: frames, persons, first detection, CPU
//	sampling    what decoding costs when two frames per second are picked
//	sandbox     decoding in a sandboxed process against decoding in this one
//	batcher     the batcher: against its engines alone, fairness, overload, self-tuning
//	timeline    the store of events: appending, reading from far behind, room on disk
//	stores      what keeping results on disk costs a session
//	start       from the start of the program to an engine that serves
//	restart     from the start of the program to the next result after kill -9
//	operate     a scrape of the metrics at 1,000 sessions, and the end after SIGTERM
//	live        WebRTC: from capture to box, first box, processor time, loss
//	info        memory, latency of pictures, where the time of a result goes
//	gpu         engine, batcher and hub on a GPU; only if it is asked for
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// options are the command line.
type options struct {
	program string
	library string
	media   string
	only    []string
	files   string
	args    []string
	reps    int
	log     bool
}

// bench is one run of the command.
type bench struct {
	options
	hub   *hub
	alone *alone // nil until something needs it
	out   printer
}

// question is one table.
type question struct {
	name string
	ask  func(*bench, context.Context) error
	// bare says that it needs neither the program nor the media.
	bare bool
	// special says that it needs something of the machine, and is asked by name only.
	special bool
}

// answers says whether the question is meant by a name: its own, or its beginning.
func (q question) answers(name string) bool {
	return q.name == name || strings.HasPrefix(q.name, name+"-")
}

// The order matters: info reads the memory of a hub that has done nothing yet.
var questions = []question{
	{name: "info", ask: (*bench).info},
	{name: "start", ask: (*bench).start},
	{name: "first", ask: (*bench).first},
	{name: "media", ask: (*bench).everyMedia},
	{name: "sampling", ask: (*bench).sampling},
	{name: "throughput", ask: (*bench).throughput},
	{name: "allocs", ask: (*bench).allocs},
	{name: "sandbox", ask: (*bench).boxed},
	{name: "batcher", ask: (*bench).batcher, bare: true},
	{name: "timeline", ask: (*bench).timelines, bare: true},
	{name: "stores", ask: (*bench).stores},
	{name: "restart", ask: (*bench).restart},
	{name: "operate", ask: (*bench).operate},
	{name: "live-first", ask: (*bench).liveFirst},
	{name: "live-latency", ask: (*bench).liveLatency},
	{name: "live-cpu", ask: (*bench).liveCPU},
	{name: "live-loss", ask: (*bench).liveLoss},
	{name: "gpu", ask: (*bench).gpu, special: true},
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "detections-bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := pflag.NewFlagSet("detections-bench", pflag.ContinueOnError)
	f.StringVar(&o.program, "program", "bin/detections", "the program to measure")
	f.StringVar(&o.library, "ort-library", os.Getenv("ORT_LIBRARY"), "ONNX Runtime; default: $ORT_LIBRARY, else libonnxruntime.so beside the program")
	f.StringVar(&o.media, "media", os.Getenv("DETECTIONS_TEST_MEDIA"), "`folder` of the test media; default: $DETECTIONS_TEST_MEDIA, which make bench sets")
	f.StringSliceVar(&o.only, "only", nil, "ask only these `questions`: start, first, media, sampling, throughput, allocs, info, sandbox, batcher, timeline, stores, restart, operate, live (live-first, live-latency, live-cpu, live-loss), gpu")
	f.StringVar(&o.files, "files", "*", "of the table media only the files whose name matches this `pattern`")
	f.IntVar(&o.reps, "reps", 5, "interleaved repetitions")
	f.StringSliceVar(&o.args, "serve-arg", nil, "more `arguments` for detections serve")
	f.BoolVar(&o.log, "log", false, "show the program's log")
	f.Usage = func() {
		fmt.Fprintf(os.Stderr, "Measures the program and prints tables; takes about ten minutes.\n\nUsage of detections-bench:\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for _, q := range o.only {
		if !slices.ContainsFunc(questions, func(k question) bool { return k.answers(q) }) {
			return o, fmt.Errorf("--only: there is no question %q", q)
		}
	}
	if o.media == "" && !o.bare() {
		return o, errors.New("no test media: say make bench, or set DETECTIONS_TEST_MEDIA")
	}
	if o.reps < 1 || f.NArg() > 0 {
		return o, fmt.Errorf("expected at least one repetition and no argument %q", f.Args())
	}
	o.library = cmp.Or(o.library, filepath.Join(filepath.Dir(o.program), "libonnxruntime.so"))
	return o, nil
}

// chosen are the questions to ask.
func (o options) chosen() []question {
	return slices.DeleteFunc(slices.Clone(questions), func(q question) bool {
		if len(o.only) == 0 {
			return q.special
		}
		return !slices.ContainsFunc(o.only, q.answers)
	})
}

// bare says whether the program and the media are not needed.
func (o options) bare() bool {
	return !slices.ContainsFunc(o.chosen(), func(q question) bool { return !q.bare })
}

func run(o options) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{options: o, out: printer{os.Stdout}}
	begin, before := time.Now(), machineNow()
	b.out.line("%s", machineLine())
	if !o.bare() {
		if b.hub, err = startHub(ctx, o); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.hub.stop()) }()
	}
	defer func() {
		if b.alone != nil {
			err = errors.Join(err, b.alone.close())
		}
	}()
	for _, q := range o.chosen() {
		if err := q.ask(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
	}
	b.out.line("\n%s in all; meanwhile the machine was %.0f %% busy", time.Since(begin).Round(time.Second), 100*machineNow().since(before).busyShare())
	return nil
}

// machineLine says what the figures were measured on.
func machineLine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("machine: %d cores, %s, load %s; %s %s/%s", runtime.NumCPU(), model,
		strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

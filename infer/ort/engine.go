//go:build cgo

package ort

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// Options say how a model is opened. The zero value is right for most.
type Options struct {
	// Providers are tried in this order. Default: tensorrt, cuda, cpu.
	Providers []string
	// Threads of one run on the CPU. Default 1: two engines of one thread each do
	// more than one of two.
	Threads int
	// Spin lets the threads of a run wait for each other without giving up their
	// processors. It is for engines that have those to themselves while they run: to wake
	// an idle processor takes so long that two threads are else no faster than one.
	Spin bool
	// MaxBatch is the largest number of images of a run. Default: DefaultBatchCPU
	// or DefaultBatchGPU, whatever provider it became.
	MaxBatch int
	// Device is the number of the GPU. Default 0.
	Device int
	// Precision is fp32 (default) or, with TensorRT only, fp16 or int8.
	Precision string
	// Cache is the folder of the engines that [Build] has built for TensorRT, without
	// which it is not used. Empty: it builds one at every Open, which takes minutes.
	Cache    string
	TensorRT TensorRT
	// Priority is that of loading the model, on the CPU and with one thread.
	Priority Priority
	// Logger is told what was loaded, and why the providers before it were not.
	// Default: nobody is told.
	Logger *slog.Logger
}

// The defaults of Options.MaxBatch. On the CPU a batch costs as much as its images
// one by one (25 CPU-ms each in batches of 1, 2, 4 and 8), so a larger one only
// delays those who share it, and takes 15 MB more per image.
const (
	DefaultBatchCPU = 1
	DefaultBatchGPU = 16
)

var defaultProviders = []string{"tensorrt", "cuda", "cpu"}

// engine implements infer.Engine. Everything is static after open, but for the
// contents of the tensors, and for what warms up.
type engine struct {
	model    *infer.Model
	identity infer.Identity
	load     func() (*onnx.DynamicAdvancedSession, error)
	input    memory
	outputs  []*results
	pinned   []memory
	device   int      // the GPU
	max      int      // images of a run
	batches  []*batch // by their sizes; the last is the largest
	own      bool     // each size has a session of its own
	gpu      bool     // it was counted as one that is open on a GPU
	sessions []*onnx.DynamicAdvancedSession
	warmth   *warmth // nil: all sizes are warm, or it does not matter
	closed   bool
}

// Open loads a model that [Describe] has described and runs it once with one image
// and once with MaxBatch. It takes the first provider of opts on which that works.
// The engine is to be used by one goroutine at a time.
func Open(model []byte, m *infer.Model, opts Options) (infer.Engine, error) {
	if infer.SHA256(model) != m.SHA256 {
		return nil, fmt.Errorf("open %s: the file is not the one that was described", m.Ref())
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	opts.defaults()
	if opts.Threads < 0 || opts.MaxBatch < 0 {
		return nil, fmt.Errorf("open %s: %d threads, batches of %d", m.Ref(), opts.Threads, opts.MaxBatch)
	}
	var failed []string
	for _, name := range opts.Providers {
		start := time.Now()
		e, err := open(model, m, name, opts, log)
		if err == nil {
			trim()
			log.Info("engine loaded", "engine", e.identity.String(), "model", m.Ref(),
				"max_batch", e.MaxBatch(), "threads", opts.Threads, "dur", time.Since(start))
			return e, nil
		}
		if len(opts.Providers) == 1 {
			return nil, errors.New(short(err))
		}
		log.Info("execution provider not used", "provider", name, "why", short(err))
		failed = append(failed, name+": "+short(err))
	}
	return nil, fmt.Errorf("open %s: no execution provider works: %s", m.Ref(), strings.Join(failed, "; "))
}

func (o *Options) defaults() {
	if len(o.Providers) == 0 {
		o.Providers = defaultProviders
	}
	o.Threads = cmp.Or(o.Threads, 1)
	o.Precision = cmp.Or(o.Precision, "fp32")
}

// open loads a model on one provider.
func open(model []byte, m *infer.Model, name string, opts Options, log *slog.Logger) (_ *engine, err error) {
	p, err := newProvider(name, m, &opts)
	if err != nil {
		return nil, err
	}
	if name == "tensorrt" && opts.Cache != "" {
		if err := machine.probe(&opts); err != nil { // it loads the libraries, too, on which the key depends
			return nil, err
		}
		if err := p.useBuilt(m, &opts); err != nil {
			return nil, err
		}
	}
	e := &engine{model: m, identity: infer.Identity{
		Model: m.SHA256, Provider: name, Precision: opts.Precision, Pipeline: infer.PipelineVersion,
		Description: m.Description,
	}}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	e.max, e.own, e.device = opts.MaxBatch, p.own, opts.Device
	if p.gpu {
		e.gpu = true
		procs.opened(1)
	}
	e.load = func() (*onnx.DynamicAdvancedSession, error) { return p.session(model, m, log) }
	do := opts.manner()
	procs.enter()
	err = e.prepare(p, do)
	procs.leave()
	if err != nil {
		return nil, err
	}
	if !p.own {
		e.load = nil // it holds the file of what was built
	}
	if p.gpu && pinning {
		e.pin(log)
	}
	if err := e.try(do); err != nil {
		return nil, err
	}
	if p.gpu {
		e.warmUp(log)
	}
	return e, nil
}

// try runs one image of zeros, and then as many images of noise as there can be, and
// looks whether the results can be those of such a model.
func (e *engine) try(do how) error {
	for _, n := range []int{1, e.max} {
		if err := do(func() error { return e.Run(n) }); err != nil {
			return fmt.Errorf("first run of %d images (does the model take so many?): %w", n, err)
		}
		for i := range n {
			if err := e.model.Head.Check(e, i); err != nil {
				return err
			}
		}
		random, in := rand.New(rand.NewPCG(1, 2)), e.model.Input //nolint:gosec // G404: the same noise each time
		pixels, pix := infer.NewNormalizer(in), make([]byte, in.Size())
		for i := range e.max {
			for k := range pix {
				pix[k] = byte(random.Uint32())
			}
			pixels.Convert(e.Input(i), pix)
		}
	}
	return nil
}

// pin makes copies to and from a GPU faster, if it can.
func (e *engine) pin(log *slog.Logger) {
	all := []memory{e.input}
	for _, r := range e.outputs {
		all = append(all, r.raw)
	}
	for _, m := range all {
		if err := m.pin(e.device); err != nil {
			log.Warn("tensors are not in pinned memory: copies to the GPU are slower", "err", err)
			return
		}
		e.pinned = append(e.pinned, m)
	}
}

func (e *engine) Model() *infer.Model       { return e.model }
func (e *engine) Identity() infer.Identity  { return e.identity }
func (e *engine) MaxBatch() int             { return e.max }
func (e *engine) Input(i int) []byte        { return image(e.input, i, e.model.Input.Bytes()) }
func (e *engine) Output(k, i int) []float32 { return image(e.outputs[k].read, i, e.outputs[k].row) }

func image[T any](all []T, i, size int) []T { return all[i*size : (i+1)*size : (i+1)*size] }

// Run does not allocate on the CPU. On a GPU it does, a little: a binding would
// copy the input to the device once, when it is bound, and not at each run.
func (e *engine) Run(n int) error {
	if e.closed {
		return errors.New("onnx runtime: engine is closed")
	}
	if n < 1 || n > e.max {
		return fmt.Errorf("onnx runtime: run of %d images, at most %d", n, e.max)
	}
	if e.warmth != nil && !e.own {
		e.warmth.run.Lock()
		defer e.warmth.run.Unlock()
	}
	if err := e.batch(n).run(); err != nil {
		return fmt.Errorf("onnx runtime: %w", err)
	}
	for _, r := range e.outputs {
		r.convert(n)
	}
	return nil
}

// Close frees everything, what refers to something before what it refers to:
// bindings, tensors, session, memory. Slices from Input and Output must not be
// used any more.
func (e *engine) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	if e.gpu {
		procs.opened(-1)
	}
	if e.warmth != nil {
		e.warmth.end()
	}
	var errs []error
	for _, b := range e.batches {
		errs = append(errs, b.destroy())
	}
	for _, session := range e.sessions {
		errs = append(errs, session.Destroy())
	}
	for _, m := range e.pinned {
		errs = append(errs, m.unpin(e.device))
	}
	e.input.free()
	for _, r := range e.outputs {
		r.raw.free()
	}
	return errors.Join(errs...)
}

// NoMemory begins an error of a model that needs more memory than there is.
const NoMemory = "it needs more memory than there is"

// noMemory finds how much was asked for in vain.
var noMemory = regexp.MustCompile(`Failed to allocate memory for requested buffer of size (\d+)`)

// short leaves out where in ONNX Runtime's source an error arose.
func short(err error) string {
	text := err.Error()
	if found := noMemory.FindStringSubmatch(text); found != nil {
		return fmt.Sprintf("%s: %s bytes for one value", NoMemory, found[1])
	}
	if strings.Contains(text, "size overflowed") || strings.Contains(text, "bad_alloc") {
		return NoMemory
	}
	if _, why, found := strings.Cut(text, " : FAIL : "); found {
		return why
	}
	return text
}

//go:build cgo

package ort

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// provider is an ONNX Runtime execution provider with its settings.
type provider struct {
	options sessionOptions
	gpu     bool
	own     bool   // each size of run has a session of its own
	built   []byte // an engine that was built ahead, as an ONNX file; nil: the model itself is loaded
}

// sessionOptions are the settings of an ONNX Runtime session.
type sessionOptions struct {
	threads  int
	spin     bool
	optimise bool
	strict   bool // refuse a session of which a part would run on the CPU
	add      []func(*onnx.SessionOptions) error
}

// newProvider settles the options that depend on the provider.
func newProvider(name string, m *infer.Model, opts *Options) (*provider, error) {
	p := &provider{options: sessionOptions{threads: opts.Threads, spin: opts.Spin, optimise: true}, gpu: name != "cpu"}
	if opts.MaxBatch == 0 {
		opts.MaxBatch = DefaultBatchGPU
		if !p.gpu {
			opts.MaxBatch = DefaultBatchCPU
		}
	}
	if m.Batch > 0 {
		opts.MaxBatch = m.Batch // it takes nothing else
	}
	if p := opts.Precision; p != "fp32" && (p != "fp16" && p != "int8" || name != "tensorrt") {
		return nil, fmt.Errorf("no precision %s", p)
	}
	device := strconv.Itoa(opts.Device)
	switch name {
	case "cpu":
	case "cuda":
		// A session prepares convolutions for one shape only, and does it again whenever a
		// run has another: 300 ms for a run of 2 on an H200.
		p.own = true
		p.options.add = append(p.options.add, func(o *onnx.SessionOptions) error { return machine.cuda(o, device) })
	case "tensorrt":
		settings, err := tensorRTSettings(m, opts)
		if err != nil {
			return nil, err
		}
		p.options.add = append(p.options.add, func(o *onnx.SessionOptions) error { return machine.add(o, settings, device) })
	default:
		return nil, fmt.Errorf("no such execution provider; there are %v", defaultProviders)
	}
	return p, nil
}

// session loads the model. A GPU is asked to run all of it: ONNX Runtime would
// else put what the provider cannot do on the CPU and say nothing.
func (p *provider) session(model []byte, m *infer.Model, log *slog.Logger) (*onnx.DynamicAdvancedSession, error) {
	if p.built != nil {
		model = p.built
	}
	if !p.gpu {
		return newSession(model, m, p.options)
	}
	strict := p.options
	strict.strict = true
	s, err := newSession(model, m, strict)
	if err == nil {
		return s, nil
	}
	s, partly := newSession(model, m, p.options)
	if partly == nil {
		log.Warn("a part of the model runs on the CPU", "model", m.Ref(), "err", err)
	}
	return s, partly
}

// newSession makes a session; m is nil if it will never run.
func newSession(model []byte, m *infer.Model, so sessionOptions) (*onnx.DynamicAdvancedSession, error) {
	o, err := onnx.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	defer destroy(o)
	if err := so.apply(o); err != nil {
		return nil, err
	}
	var inputs, outputs []string
	if m != nil {
		inputs = []string{m.Input.Name}
		for _, t := range m.Outputs {
			outputs = append(outputs, t.Name)
		}
	}
	return onnx.NewDynamicAdvancedSessionWithONNXData(model, inputs, outputs, o)
}

func (so sessionOptions) apply(o *onnx.SessionOptions) error {
	level := onnx.GraphOptimizationLevel(onnx.GraphOptimizationLevelEnableAll)
	if !so.optimise {
		level = onnx.GraphOptimizationLevelDisableAll
	}
	spinning := "0"
	if so.spin {
		spinning = "1"
	}
	steps := append([]func(*onnx.SessionOptions) error{
		func(o *onnx.SessionOptions) error { return o.SetGraphOptimizationLevel(level) },
		func(o *onnx.SessionOptions) error { return o.SetLogSeverityLevel(onnx.LoggingLevelWarning) },
		func(o *onnx.SessionOptions) error { return o.SetIntraOpNumThreads(so.threads) },
		func(o *onnx.SessionOptions) error { return o.SetInterOpNumThreads(1) },
		entry("session.intra_op.allow_spinning", spinning),
		// Else they go on spinning after the run: 45 instead of 26 CPU-ms an image.
		entry("session.force_spinning_stop", "1"),
		entry("session.inter_op.allow_spinning", "0"),
	}, so.add...)
	if so.strict {
		steps = append(steps, entry("session.disable_cpu_ep_fallback", "1"))
	}
	for _, step := range steps {
		if err := step(o); err != nil {
			return err
		}
	}
	return nil
}

func entry(key, value string) func(*onnx.SessionOptions) error {
	return func(o *onnx.SessionOptions) error { return o.AddSessionConfigEntry(key, value) }
}

// Benchmarks change these to see what they bring.
var (
	cudaSettings = map[string]string{
		// TF32 rounds the inputs of products to 10 bits: that would not be fp32.
		"use_tf32": "0",
		// To try all of cuDNN's kernels takes 1.3 s for each size of run on an H200, and what
		// it finds is no faster than what cuDNN proposes.
		"cudnn_conv_algo_search": "HEURISTIC",
		// What has one shape needs no room to grow: sessions of other sizes are beside it.
		"arena_extend_strategy": "kSameAsRequested",
	}
	pinning = true
)

func addCUDA(o *onnx.SessionOptions, device string) error {
	c, err := onnx.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer destroy(c)
	settings := maps.Clone(cudaSettings)
	settings["device_id"] = device
	if err := c.Update(settings); err != nil {
		return err
	}
	return o.AppendExecutionProviderCUDA(c)
}

func addTensorRT(o *onnx.SessionOptions, settings map[string]string) error {
	t, err := onnx.NewTensorRTProviderOptions()
	if err != nil {
		return err
	}
	defer destroy(t)
	if err := t.Update(settings); err != nil {
		return err
	}
	return o.AppendExecutionProviderTensorRT(t)
}

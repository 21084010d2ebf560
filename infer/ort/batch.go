//go:build cgo

package ort

import (
	"errors"
	"fmt"
	"sync/atomic"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// batch is a size of run that an engine has: tensors over the first images of the
// engine's memory.
type batch struct {
	images  int
	session *onnx.DynamicAdvancedSession
	input   []onnx.Value
	outputs []onnx.Value
	binding *onnx.IoBinding // CPU only
	warm    atomic.Bool     // it has run; what is cold is not used
}

// sizes are the sizes of run that an engine has. Whatever number of images is run as the
// next larger one.
func (p *provider) sizes(m *infer.Model, most int) (all []int) {
	switch {
	case m.Batch > 0:
	case p.own:
		for n := 1; n < most; n *= 2 {
			all = append(all, n)
		}
	default:
		for n := 1; n < most; n++ {
			all = append(all, n)
		}
	}
	return append(all, most)
}

// prepare makes all sizes of run, and the sessions for one image and for the most.
func (e *engine) prepare(p *provider, do how) (err error) {
	sizes := p.sizes(e.model, e.max)
	for i, n := range sizes {
		b := &batch{images: n}
		b.warm.Store(!p.gpu || i == 0 || i == len(sizes)-1)
		e.batches = append(e.batches, b)
		if i > 0 && !e.own {
			b.session = e.batches[0].session
		} else if b.warm.Load() {
			if err := do(func() error { return e.open(b) }); err != nil {
				return err
			}
		}
	}
	if e.input, err = allocate(e.max * e.model.Input.Bytes()); err != nil {
		return err
	}
	for _, t := range e.model.Outputs {
		r, err := newResults(t, e.max)
		if err != nil {
			return err
		}
		e.outputs = append(e.outputs, r)
	}
	for _, b := range e.batches {
		if err := e.tensors(b, !p.gpu); err != nil {
			return fmt.Errorf("tensors for %d images: %w", b.images, err)
		}
	}
	return nil
}

// open loads the model for a size of run.
func (e *engine) open(b *batch) (err error) {
	if b.session, err = e.load(); err == nil {
		e.sessions = append(e.sessions, b.session)
	}
	return err
}

func (e *engine) tensors(b *batch, bind bool) error {
	in, err := inputTensor(e.model.Input, b.images, e.input)
	if err != nil {
		return err
	}
	b.input = append(b.input, in)
	for _, r := range e.outputs {
		out, err := r.tensor(b.images)
		if err != nil {
			return err
		}
		b.outputs = append(b.outputs, out)
	}
	if !bind {
		return nil
	}
	if b.binding, err = b.session.CreateIoBinding(); err != nil {
		return err
	}
	if err := b.binding.BindInput(e.model.Input.Name, in); err != nil {
		return err
	}
	for k, out := range b.outputs {
		if err := b.binding.BindOutput(e.model.Outputs[k].Name, out); err != nil {
			return err
		}
	}
	return nil
}

// inputTensor is the input of a run of n images.
func inputTensor(in infer.Input, n int, m memory) (onnx.Value, error) {
	return onnx.NewCustomDataTensor(onnx.NewShape(in.Shape(n)...), m[:n*in.Bytes()], kindOf(in.Type.String()).onnx)
}

// batch is the size that n images are run as. The largest is always warm.
func (e *engine) batch(n int) *batch {
	i := 0
	for e.batches[i].images < n || !e.batches[i].warm.Load() {
		i++
	}
	return e.batches[i]
}

// RunsAs implements [infer.Stepped].
func (e *engine) RunsAs(n int) int { return e.batch(n).images }

func (b *batch) run() error {
	procs.enter()
	defer procs.leave()
	if b.binding != nil {
		return b.session.RunWithBinding(b.binding)
	}
	return b.session.Run(b.input, b.outputs)
}

func (b *batch) destroy() error {
	var errs []error
	if b.binding != nil {
		errs = append(errs, b.binding.Destroy())
	}
	for _, v := range append(b.input, b.outputs...) {
		errs = append(errs, v.Destroy())
	}
	return errors.Join(errs...)
}

//go:build cgo

package ort

import (
	"fmt"
	"log/slog"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"
)

// warmth warms up the sizes of run of an engine on a GPU. The first run of a size is slow,
// because kernels are chosen for it and memory is laid out. An engine serves as soon as
// one image and the most are warm; the sizes between warm up in the background, and
// until then a batch of such a size is run as the next larger one that is warm.
type warmth struct {
	run  sync.Mutex // held while a session runs that all sizes share
	stop chan struct{}
	done chan struct{}
}

// warmUp begins to warm up the sizes between one and the most.
func (e *engine) warmUp(log *slog.Logger) {
	if len(e.batches) < 3 {
		return
	}
	w := &warmth{stop: make(chan struct{}), done: make(chan struct{})}
	e.warmth = w
	go func() {
		defer close(w.done)
		for i := len(e.batches) - 2; i > 0; i-- {
			select {
			case <-w.stop:
				return
			default:
			}
			b := e.batches[i]
			if err := e.warmOne(b); err != nil {
				log.Warn("a size of batch cannot be warmed up; larger ones are used for it", "images", b.images, "err", err)
				return
			}
			b.warm.Store(true)
		}
		log.Info("all sizes of batch are warm", "engine", e.identity.String(), "max_batch", e.max)
	}()
}

// Warm waits until no size of run is cold any more. What is measured before is not what
// the engine can do.
func (e *engine) Warm() {
	if e.warmth != nil {
		<-e.warmth.done
	}
}

// warmOne runs zeros in memory of its own: the engine's tensors are in use.
func (e *engine) warmOne(b *batch) (err error) {
	if b.session == nil {
		if err := e.open(b); err != nil {
			return err
		}
	}
	input, err := allocate(b.images * e.model.Input.Bytes())
	if err != nil {
		return err
	}
	defer input.free()
	in, err := inputTensor(e.model.Input, b.images, input)
	if err != nil {
		return err
	}
	defer destroy(in)
	var outputs []onnx.Value
	for _, t := range e.model.Outputs {
		r, err := newResults(t, b.images)
		if err != nil {
			return err
		}
		defer r.raw.free()
		out, err := r.tensor(b.images)
		if err != nil {
			return fmt.Errorf("output %s: %w", t.Name, err)
		}
		defer destroy(out)
		outputs = append(outputs, out)
	}
	if !e.own {
		e.warmth.run.Lock()
		defer e.warmth.run.Unlock()
	}
	return b.session.Run([]onnx.Value{in}, outputs)
}

// end stops the warming up and waits for it.
func (w *warmth) end() {
	close(w.stop)
	<-w.done
}

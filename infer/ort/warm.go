//go:build cgo

package ort

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	onnx "github.com/yalue/onnxruntime_go"
)

// warmth is which sizes of batch a GPU has run already. The first run of a size is slow,
// because kernels are chosen for it and memory is laid out. An engine serves as soon as
// one image and the most are warm; the sizes between warm up in the background, and
// until then a batch of such a size is run as the next larger one that is warm.
type warmth struct {
	run  sync.Mutex // held while anything runs
	warm []atomic.Bool
	stop chan struct{}
	done chan struct{}
}

// size is what a batch of n images is run as.
func (w *warmth) size(n int) int {
	for !w.warm[n-1].Load() {
		n++ // the largest is warm
	}
	return n
}

// warmUp begins to warm up the sizes between 1 and the most.
func (e *engine) warmUp(log *slog.Logger) {
	if e.max < 3 || e.model.Batch > 0 {
		return
	}
	w := &warmth{warm: make([]atomic.Bool, e.max), stop: make(chan struct{}), done: make(chan struct{})}
	w.warm[0].Store(true)
	w.warm[e.max-1].Store(true)
	e.warmth = w
	go func() {
		defer close(w.done)
		for n := e.max - 1; n > 1; n-- {
			select {
			case <-w.stop:
				return
			default:
			}
			if err := e.warmOne(n); err != nil {
				log.Warn("a size of batch cannot be warmed up; larger ones are used for it", "images", n, "err", err)
				return
			}
			w.warm[n-1].Store(true)
		}
		log.Info("all sizes of batch are warm", "engine", e.identity.String(), "max_batch", e.max)
	}()
}

// Warm waits until no size of batch is cold any more. What is measured before is not what
// the engine can do.
func (e *engine) Warm() {
	if e.warmth != nil {
		<-e.warmth.done
	}
}

// warmOne runs zeros in memory of its own: the engine's tensors are in use.
func (e *engine) warmOne(n int) (err error) {
	input, err := allocate(n * e.model.Input.Bytes())
	if err != nil {
		return err
	}
	defer input.free()
	in, err := inputTensor(e.model.Input, n, input)
	if err != nil {
		return err
	}
	defer destroy(in)
	var outputs []onnx.Value
	for _, t := range e.model.Outputs {
		r, err := newResults(t, n)
		if err != nil {
			return err
		}
		defer r.raw.free()
		out, err := r.tensor(n)
		if err != nil {
			return fmt.Errorf("output %s: %w", t.Name, err)
		}
		defer destroy(out)
		outputs = append(outputs, out)
	}
	e.warmth.run.Lock()
	defer e.warmth.run.Unlock()
	return e.session.Run([]onnx.Value{in}, outputs)
}

// end stops the warming up and waits for it.
func (w *warmth) end() {
	close(w.stop)
	<-w.done
}

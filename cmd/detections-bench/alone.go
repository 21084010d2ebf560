//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/media"
	"detections/media/av"
)

// alone is what the program is made of, in this process and on its own.
type alone struct {
	model   *infer.Model
	layouts []layout
	solo    infer.Engine // for frames that are alone; nil: there is one core
}

// layout is so many engines of so many threads.
type layout struct {
	name    string
	all     bool // uses all cores
	engines []infer.Engine
}

// embedded is the model that is measured. It loads ONNX Runtime.
func embedded(library string) (file loader.File, m *infer.Model, err error) {
	if file, err = loader.Embedded(); err != nil {
		return file, nil, err
	}
	if err = ort.Init(library); err != nil {
		return file, nil, err
	}
	if m, err = ort.Describe(file.Bytes, nil); err != nil {
		return file, nil, err
	}
	m.Name, m.Version, m.SHA256 = file.Name, file.Version, file.SHA256
	return file, m, nil
}

func openAlone(library string) (*alone, error) {
	file, model, err := embedded(library)
	if err != nil {
		return nil, err
	}
	a := &alone{model: model}
	cores := runtime.NumCPU()
	shapes := [][2]int{{cores, 1}, {1, cores}, {1, 1}}
	if cores == 1 {
		shapes = shapes[:1]
	}
	for _, s := range shapes {
		l := layout{name: fmt.Sprintf("%d×%d", s[0], s[1]), all: s[0]*s[1] == cores}
		for range s[0] {
			e, err := ort.Open(file.Bytes, a.model, ort.Options{Providers: []string{"cpu"}, Threads: s[1], MaxBatch: 1})
			if err != nil {
				return nil, errors.Join(err, a.close())
			}
			l.engines = append(l.engines, e)
		}
		a.layouts = append(a.layouts, l)
	}
	if cores > 1 {
		a.solo, err = ort.Open(file.Bytes, a.model, ort.Options{Providers: []string{"cpu"}, Threads: cores, Spin: true, MaxBatch: 1})
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

// asInHub is how the program configures the batcher.
func (a *alone) asInHub() infer.BatcherConfig {
	if a.solo == nil {
		return infer.BatcherConfig{SharedCores: true}
	}
	return infer.BatcherConfig{SharedCores: true, Solo: func() (infer.Engine, error) { return keptOpen{a.solo}, nil }}
}

func (a *alone) close() error {
	var errs []error
	if a.solo != nil {
		errs = append(errs, a.solo.Close())
	}
	for _, l := range a.layouts {
		for _, e := range l.engines {
			errs = append(errs, e.Close())
		}
	}
	return errors.Join(errs...)
}

// parts opens the engines of this process when they are first needed.
func (b *bench) parts() (*alone, error) {
	if b.alone != nil {
		return b.alone, nil
	}
	a, err := openAlone(b.library)
	b.alone = a
	return a, err
}

// decode decodes and scales a whole file in this process; it returns the processor
// time and the number of frames.
func (a *alone) decode(ctx context.Context, dir, name string) (time.Duration, int, error) {
	file, err := os.Open(filepath.Join(dir, name)) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	before := selfCPU()
	d, err := av.Open(file, media.Job{Views: []media.View{a.model.Input.View()}})
	if err != nil {
		return 0, 0, err
	}
	d.Grow(info.Size(), true)
	frames := 0
	for err == nil {
		var o media.Output
		if o, err = d.Next(ctx); o.Frame != nil {
			frames++
			o.Frame.Release()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	err = errors.Join(err, d.Close())
	return selfCPU() - before, frames, err
}

// pipeline decodes a file, converts and infers its frames on all cores with nothing
// else around: a loop for each engine, which takes turns at the decoder. The parts are
// in each other's way, in the caches, as they are in a hub.
func (a *alone) pipeline(ctx context.Context, dir, name string) (spent, wall time.Duration, frames int, err error) {
	file, err := os.Open(filepath.Join(dir, name)) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return 0, 0, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, 0, 0, err
	}
	d, err := av.Open(file, media.Job{Views: []media.View{a.model.Input.View()}})
	if err != nil {
		return 0, 0, 0, err
	}
	d.Grow(info.Size(), true)
	var turn sync.Mutex
	next := func() (*media.Frame, error) {
		turn.Lock()
		defer turn.Unlock()
		for {
			o, err := d.Next(ctx)
			if o.Frame != nil {
				frames++
			}
			if o.Frame != nil || err != nil {
				return o.Frame, err
			}
		}
	}
	before, begun := selfCPU(), time.Now()
	var all sync.WaitGroup
	failed := make([]error, len(a.layouts[0].engines))
	for i, e := range a.layouts[0].engines {
		all.Go(func() {
			pixels := infer.NewNormalizer(a.model.Input)
			for {
				f, err := next()
				if err != nil {
					failed[i] = err
					return
				}
				pixels.Convert(e.Input(0), f.Views[0].Pix)
				f.Release()
				if err := e.Run(1); err != nil {
					failed[i] = err
					return
				}
			}
		})
	}
	all.Wait()
	for _, e := range failed {
		if !errors.Is(e, io.EOF) {
			err = errors.Join(err, e)
		}
	}
	return selfCPU() - before, time.Since(begun), frames, errors.Join(err, d.Close())
}

// convert is the processor time of bringing one frame's pixels into the tensor.
func (a *alone) convert() time.Duration {
	const frames = 1000
	pixels := infer.NewNormalizer(a.model.Input)
	dst, pix := a.layouts[0].engines[0].Input(0), a.pixels()
	before := selfCPU()
	for range frames {
		pixels.Convert(dst, pix)
	}
	return (selfCPU() - before) / frames
}

// pixels are those of a view that shows noise.
func (a *alone) pixels() []byte {
	pix, v := make([]byte, a.model.Input.View().Size()), uint32(1)
	for i := range pix {
		v = v*1664525 + 1013904223
		pix[i] = byte(v >> 24)
	}
	return pix
}

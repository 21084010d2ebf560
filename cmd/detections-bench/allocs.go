//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"detections/infer"
	"detections/media"
)

// allocFrames is how many frames go through the batcher.
const allocFrames = 300

// allocs counts allocations on a frame's way from shared memory to detections.
func (b *bench) allocs(_ context.Context) error {
	a, err := b.parts()
	if err != nil {
		return err
	}
	view := a.model.Input.View()
	shared, err := unix.Mmap(-1, 0, view.Size(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	defer unix.Munmap(shared)
	copy(shared, a.pixels())
	direct, err := a.allocsDirect(shared)
	if err != nil {
		return err
	}
	batched, err := a.allocsBatched(shared)
	if err != nil {
		return err
	}
	b.out.table("ALLOCATIONS per frame", [][]string{
		{"from shared memory to detections", "measured", "target", ""},
		{"convert, run, head, NMS", fmt.Sprintf("%.2f", direct), "0", verdict(direct == 0)},
		// A few in all come from the runtime itself.
		{fmt.Sprintf("through the batcher, %d frames", allocFrames), fmt.Sprintf("%.2f", batched), "0", verdict(batched < 0.05)},
	})
	return nil
}

func (a *alone) allocsDirect(pix []byte) (float64, error) {
	e, pixels := a.layouts[0].engines[0], infer.NewNormalizer(a.model.Input)
	place := a.model.Input.View().Place(768, 576)
	// A low threshold, so that there is something to find in noise.
	detect := &infer.Detect{Threshold: 0.05, IoU: infer.DefaultIoU}
	var post infer.Postprocessor
	var failed error
	n := testing.AllocsPerRun(50, func() {
		pixels.Convert(e.Input(0), pix)
		failed = errors.Join(failed, e.Run(1))
		post.Detect(e, 0, detect, place)
	})
	return n, failed
}

func (a *alone) allocsBatched(pix []byte) (float64, error) {
	kept := make([]infer.Engine, len(a.layouts[0].engines))
	for i, e := range a.layouts[0].engines {
		kept[i] = keptOpen{e} // the batcher would close them
	}
	batcher, err := infer.NewBatcher(infer.BatcherConfig{Engines: kept, SharedCores: true})
	if err != nil {
		return 0, err
	}
	s := &allocSource{done: make(chan struct{}, 1)}
	for range 2 * len(kept) {
		var f *media.Frame
		f = media.NewFrame(func() { s.put(f) })
		f.FrameInfo = media.FrameInfo{Width: 768, Height: 576}
		f.Views = []media.Picture{{Pix: pix, Geometry: a.model.Input.View().Place(768, 576)}}
		s.free = append(s.free, f)
	}
	if s.place, err = batcher.Join(s, infer.Client{Class: infer.File}); err != nil {
		return 0, errors.Join(err, batcher.Close())
	}
	s.run(20) // memory that is used again and again
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s.run(allocFrames)
	runtime.ReadMemStats(&after)
	s.place.Leave()
	return float64(after.Mallocs-before.Mallocs) / allocFrames, errors.Join(s.failed, batcher.Close())
}

type keptOpen struct{ infer.Engine }

func (keptOpen) Close() error { return nil }

// RunsAs implements [infer.Stepped].
func (k keptOpen) RunsAs(n int) int {
	if s, ok := k.Engine.(infer.Stepped); ok {
		return s.RunsAs(n)
	}
	return n
}

// allocSource is a session that always has frames, and allocates nothing itself.
type allocSource struct {
	place *infer.Place
	done  chan struct{}

	mu      sync.Mutex
	free    []*media.Frame // guarded by mu
	pending int            // guarded by mu: not taken
	open    int            // guarded by mu: not answered
	failed  error          // guarded by mu
}

// run puts n frames through the batcher.
func (s *allocSource) run(n int) {
	s.mu.Lock()
	s.pending, s.open = n, n
	s.mu.Unlock()
	s.place.Ready(1)
	<-s.done
}

func (s *allocSource) put(f *media.Frame) {
	s.mu.Lock()
	s.free = append(s.free, f)
	s.mu.Unlock()
	s.place.Ready(1)
}

// Take implements infer.Source.
func (s *allocSource) Take() (r infer.Request, more, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == 0 || len(s.free) == 0 {
		return r, false, false
	}
	f := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.pending--
	f.Hold()
	return infer.Request{Frame: f}, s.pending > 0 && len(s.free) > 0, true
}

// Done implements infer.Source.
func (s *allocSource) Done(_ media.FrameInfo, r *infer.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Err != nil {
		s.failed = r.Err
	}
	if s.open--; s.open == 0 {
		s.done <- struct{}{}
	}
}

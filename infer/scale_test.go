package infer_test

import (
	"fmt"
	"testing"

	"detections/infer"
	"detections/media"
)

// nothing is an engine and a head that cost nothing, so that what is left is the
// scheduling.
type nothing struct {
	model *infer.Model
	input [3]byte
}

func newNothing() *nothing {
	e := &nothing{}
	e.model = &infer.Model{Head: e, Input: infer.Input{Width: 1, Height: 1, Type: infer.Uint8, Std: [3]float32{1, 1, 1}}}
	return e
}

func (e *nothing) Model() *infer.Model           { return e.model }
func (e *nothing) Identity() infer.Identity      { return infer.Identity{} }
func (e *nothing) MaxBatch() int                 { return 16 }
func (e *nothing) Input(int) []byte              { return e.input[:] }
func (e *nothing) Run(int) error                 { return nil }
func (e *nothing) Output(int, int) []float32     { return nil }
func (e *nothing) Close() error                  { return nil }
func (e *nothing) Check(infer.Engine, int) error { return nil }

func (e *nothing) Decode(_ infer.Engine, _ int, _ float32, dst []infer.Candidate) []infer.Candidate {
	return dst
}

// crowdOf are sessions that always have frames, until they have had enough together.
// One engine takes from them, so that nothing needs a lock.
type crowdOf struct {
	left int
	done chan struct{}
	free []*media.Frame
}

func (c *crowdOf) Take() (r infer.Request, more, ok bool) {
	if c.left <= 0 {
		return r, false, false
	}
	n := len(c.free) - 1
	f := c.free[n]
	c.free = c.free[:n]
	f.Hold()
	return infer.Request{Frame: f}, true, true
}

func (c *crowdOf) Done(media.FrameInfo, *infer.Result) {
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// member is a session of the crowd: its own memory, as sessions have.
type member struct{ *crowdOf }

// BenchmarkScheduling is what a frame costs from its turn to its answer, pixels,
// engine and head left out, with so many sessions ready, ten of each principal.
func BenchmarkScheduling(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) { schedule(b, n) })
	}
}

func schedule(b *testing.B, n int) {
	batcher, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{newNothing()}, MaxDelay: -1})
	if err != nil {
		b.Fatal(err)
	}
	c := &crowdOf{left: b.N, done: make(chan struct{})}
	view := media.View{Width: 1, Height: 1}
	for range 16 {
		var f *media.Frame
		f = media.NewFrame(func() { c.free = append(c.free, f) })
		f.Views = []media.Picture{{Pix: make([]byte, 3), Geometry: view.Place(1, 1)}}
		c.free = append(c.free, f)
	}
	places := make([]*infer.Place, n)
	for i := range places {
		places[i] = placedAs(b, batcher, &member{c}, infer.Client{Principal: fmt.Sprint(i / 10), Class: infer.Class(i % int(infer.Classes))})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, p := range places {
		p.Ready(1)
	}
	<-c.done
	b.StopTimer()
	for _, p := range places {
		p.Leave()
	}
	if err := batcher.Close(); err != nil {
		b.Fatal(err)
	}
}

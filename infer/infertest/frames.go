package infertest

import (
	"fmt"
	"sync/atomic"
	"time"

	"detections/infer"
	"detections/media"
)

// Pool makes frames in memory and counts those that are held.
type Pool struct{ live atomic.Int64 }

// Live is how many frames have not been released.
func (p *Pool) Live() int64 { return p.live.Load() }

// Frame makes a held frame of a 64×64 source for the fake network: its number (up
// to 2²⁴−1) in the first pixel, and one square whose cell and colour follow from it.
func (p *Pool) Frame(index int64) *media.Frame {
	m := Model()
	pix := make([]byte, m.Input.View().Size())
	x, y, class := square(index)
	for dy := range cell {
		for dx := range cell {
			pix[((y+dy)*Side+x+dx)*3+class] = 255
		}
	}
	pix[0], pix[1], pix[2] = byte(index>>16), byte(index>>8), byte(index)
	return p.Picture(media.FrameInfo{
		Index: index, PTS: time.Duration(index) * 40 * time.Millisecond, Width: 2 * Side, Height: 2 * Side, Ready: time.Now(),
	}, m.Input.View(), pix)
}

// Picture makes a held frame of any pixels.
func (p *Pool) Picture(info media.FrameInfo, v media.View, pix []byte) *media.Frame {
	f := media.NewFrame(func() {
		clear(pix) // pixels are gone after Release
		p.live.Add(-1)
	})
	f.FrameInfo = info
	f.Views = []media.Picture{{Pix: pix, Geometry: v.Place(info.Width, info.Height)}}
	f.Hold()
	p.live.Add(1)
	return f
}

// square is where the square of a frame lies, in input pixels, and its class. The
// first cell is left to the number.
func square(index int64) (x, y, class int) {
	a := 1 + int(index%(Cells*Cells-1))
	return a % Cells * cell, a / Cells * cell, int(index % int64(len(Labels)))
}

// Check says what is wrong with the result of a frame that a Pool made: it must be
// the frame's own square, in source pixels.
func Check(f media.FrameInfo, r *infer.Result) error {
	if r.Err != nil {
		return fmt.Errorf("frame %d: %w", f.Index, r.Err)
	}
	x, y, class := square(f.Index)
	want := infer.Detection{Class: class, Confidence: 1, Box: infer.Box{X: float32(2 * x), Y: float32(2 * y), W: 2 * cell, H: 2 * cell}}
	if len(r.Detections) != 1 {
		return fmt.Errorf("frame %d: %d detections, want 1", f.Index, len(r.Detections))
	}
	got := r.Detections[0]
	if d := got.Confidence - 1; d > 1e-4 || d < -1e-4 {
		return fmt.Errorf("frame %d: confidence %v, want 1", f.Index, got.Confidence)
	}
	got.Confidence = 1
	if got != want {
		return fmt.Errorf("frame %d: found %+v, want %+v", f.Index, got, want)
	}
	return nil
}

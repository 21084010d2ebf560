// Package infertest imitates an engine, with a price list instead of a model, and
// holds the tests that every engine must pass.
//
// The fake's network sees coloured squares: it divides its 32×32 input into 4×4
// cells, and the score of a class (blue, green, red) in a cell is the mean of that
// channel. So every result can be traced to the pixels it came from. [Pool] makes
// frames that carry their number in their pixels, and [Check] verifies that a
// result belongs to its frame.
//
// A run costs [Price] on the clock; in a testing/synctest bubble that takes no time.
//
// [Graph] and [Fixed] are small ONNX models for the real engine.
package infertest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"detections/infer"
	"detections/media"
)

// The fake network's measures, in pixels and cells.
const (
	Side  = 32
	Cells = 4
	cell  = Side / Cells
)

// Labels are the classes of the fake network.
var Labels = []string{"blue", "green", "red"}

// Model describes the fake network. Every call returns the same value.
var Model = sync.OnceValue(func() *infer.Model {
	sum := sha256.Sum256([]byte("coloured squares"))
	return &infer.Model{
		Name:    "squares",
		Version: hex.EncodeToString(sum[:6]),
		SHA256:  hex.EncodeToString(sum[:]),
		Labels:  Labels,
		Input: infer.Input{
			Name: "images", Width: Side, Height: Side, Format: media.BGR24,
			Mean: [3]float32{100, 110, 120}, Std: [3]float32{50, 55, 60},
		},
		Outputs: []infer.Tensor{
			{Name: "scores", Type: "float32", Shape: []int64{0, Cells * Cells, int64(len(Labels))}},
			{Name: "boxes", Type: "float32", Shape: []int64{0, Cells * Cells, 4}},
		},
		Head: infer.Scored{Anchors: Cells * Cells, Classes: len(Labels)},
	}
})

// model is Model with the input of a configuration.
func model(c Config) *infer.Model {
	m := Model()
	if c.Type == m.Input.Type && c.Layout == m.Input.Layout && c.Thresholds == nil {
		return m
	}
	other := *m
	other.Thresholds = c.Thresholds
	other.Input.Type, other.Input.Layout = c.Type, c.Layout
	if c.Type == infer.Uint8 {
		other.Input.Mean, other.Input.Std = [3]float32{}, [3]float32{1, 1, 1}
	}
	return &other
}

// Price is what a run costs: Run + n · Image.
type Price struct{ Run, Image time.Duration }

// Config is what a fake engine is made of. The zero value is an engine that is
// infinitely fast.
type Config struct {
	Price    Price
	MaxBatch int // 0: 8
	// Precision is part of the engine's identity; empty: fp32.
	Precision string
	// Type and Layout are those of the input.
	Type   infer.Type
	Layout infer.Layout
	// Thresholds are those of the classes; nil: there are none.
	Thresholds []float32
	// Before is called at the beginning of every run of n images. It may look at
	// their Tags, fail the run, or block for as long as the engine is to be stuck.
	Before func(e *Engine, n int) error
	// After is called at the end of every run; it may spoil the outputs.
	After func(e *Engine, n int)
}

// Engine is the fake. It implements [infer.Engine].
type Engine struct {
	config Config
	model  *infer.Model
	input  []byte
	scores []float32
	boxes  []float32

	mu     sync.Mutex
	runs   []int // by number of images
	busy   time.Duration
	closed bool
}

// NewEngine makes a fake engine.
func NewEngine(c Config) *Engine {
	if c.MaxBatch == 0 {
		c.MaxBatch = 8
	}
	m, anchors := model(c), Cells*Cells
	return &Engine{
		config: c,
		model:  m,
		input:  make([]byte, c.MaxBatch*m.Input.Bytes()),
		scores: make([]float32, c.MaxBatch*anchors*len(Labels)),
		boxes:  make([]float32, c.MaxBatch*anchors*4),
		runs:   make([]int, c.MaxBatch+1),
	}
}

// Model implements infer.Engine.
func (e *Engine) Model() *infer.Model { return e.model }

// Identity implements infer.Engine.
func (e *Engine) Identity() infer.Identity {
	return infer.Identity{Model: e.model.SHA256, Provider: "fake", Precision: cmp.Or(e.config.Precision, "fp32"), Pipeline: infer.PipelineVersion}
}

// MaxBatch implements infer.Engine.
func (e *Engine) MaxBatch() int { return e.config.MaxBatch }

// Input implements infer.Engine.
func (e *Engine) Input(i int) []byte { return row(e.input, i, e.config.MaxBatch) }

// Output implements infer.Engine.
func (e *Engine) Output(k, i int) []float32 {
	if k == 0 {
		return row(e.scores, i, e.config.MaxBatch)
	}
	return row(e.boxes, i, e.config.MaxBatch)
}

func row[T any](all []T, i, rows int) []T {
	size := len(all) / rows
	return all[i*size : (i+1)*size : (i+1)*size]
}

// Run implements infer.Engine.
func (e *Engine) Run(n int) error {
	if n < 1 || n > e.config.MaxBatch {
		return fmt.Errorf("fake engine: run of %d images, at most %d", n, e.config.MaxBatch)
	}
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return errors.New("fake engine: closed")
	}
	if e.config.Before != nil {
		if err := e.config.Before(e, n); err != nil {
			return err
		}
	}
	cost := e.config.Price.Run + time.Duration(n)*e.config.Price.Image
	if cost > 0 {
		time.Sleep(cost)
	}
	for i := range n {
		e.look(i)
	}
	if e.config.After != nil {
		e.config.After(e, n)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runs[n]++
	e.busy += cost
	return nil
}

// look computes the outputs of image i.
func (e *Engine) look(i int) {
	scores, boxes := e.Output(0, i), e.Output(1, i)
	for a := range Cells * Cells {
		x, y := a%Cells*cell, a/Cells*cell
		for c := range Labels {
			var sum float32
			for dy := range cell {
				for dx := range cell {
					sum += e.value(i, c, x+dx, y+dy)
				}
			}
			scores[a*len(Labels)+c] = sum / (cell * cell * 255)
		}
		copy(boxes[a*4:], []float32{float32(x), float32(y), float32(x + cell), float32(y + cell)})
	}
}

// value is a pixel of the input as it was before normalisation.
func (e *Engine) value(i, c, x, y int) float32 {
	in, at := &e.model.Input, c*Side*Side+y*Side+x
	if in.Layout == infer.NHWC {
		at = (y*Side+x)*3 + c
	}
	var v float32
	switch b := e.Input(i); in.Type {
	case infer.Float16:
		v = infer.Half(binary.NativeEndian.Uint16(b[2*at:])).Float()
	case infer.Uint8:
		v = float32(b[at])
	default:
		v = math.Float32frombits(binary.NativeEndian.Uint32(b[4*at:]))
	}
	return v*in.Std[c] + in.Mean[c]
}

// Tag is the number that [Pool] wrote into the image in slot i.
func (e *Engine) Tag(i int) int64 {
	var tag int64
	for c := range 3 {
		tag = tag<<8 | int64(e.value(i, c, 0, 0)+0.5)
	}
	return tag
}

// Runs is how many runs of n images there were; n = 0 stands for any number.
func (e *Engine) Runs(n int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n > 0 {
		return e.runs[n]
	}
	total := 0
	for _, r := range e.runs {
		total += r
	}
	return total
}

// Busy is what the runs so far have cost.
func (e *Engine) Busy() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.busy
}

// Closed says whether Close was called.
func (e *Engine) Closed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// Close implements infer.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

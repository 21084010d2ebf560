//go:build cgo

package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

// opener opens engines; one of them, by the order in which they are opened, cannot be.
type opener struct {
	opened atomic.Int64
	broken int64
	before func(n int64)
}

var errOpen = errors.New("no memory")

func (o *opener) open() (infer.Engine, error) {
	n := o.opened.Add(1)
	if o.before != nil {
		o.before(n)
	}
	if n == o.broken {
		return nil, errOpen
	}
	return infertest.NewEngine(infertest.Config{}), nil
}

func TestEnginesAreOpenedAtTheSameTime(t *testing.T) {
	const atOnce = 3
	var together atomic.Int64
	met := make(chan struct{})
	o := opener{before: func(n int64) {
		if together.Add(1) == atOnce {
			close(met)
		}
		if n <= atOnce {
			<-met
		}
	}}
	var told []float64
	engines, err := openAll(t.Context(), 8, atOnce, o.open, func(percent float64) { told = append(told, percent) })
	if err != nil || len(engines) != 8 || o.opened.Load() != 8 {
		t.Errorf("%d engines of %d opened: %v", len(engines), o.opened.Load(), err)
	}
	if len(told) != 8 || told[7] != 100 || !slices.IsSorted(told) {
		t.Errorf("reported %v", told)
	}
}

func TestLargeModelsAreLoadedOneByOne(t *testing.T) {
	for _, c := range []struct{ cores, size, want int }{{16, 4 << 20, 16}, {16, 40 << 20, 4}, {1, 1, 1}, {16, 300 << 20, 1}, {2, 0, 2}} {
		if got := loadedAtOnce(c.cores, c.size); got != c.want {
			t.Errorf("%d cores, %d bytes: %d at once, want %d", c.cores, c.size, got, c.want)
		}
	}
}

// What makes one engine fail makes the others fail, too: they are not tried.
func TestNoMoreEnginesAreOpenedAfterOneThatCannotBe(t *testing.T) {
	o := opener{broken: 3}
	engines, err := openAll(t.Context(), 16, 1, o.open, func(float64) {})
	if !errors.Is(err, errOpen) || len(engines) != 2 || o.opened.Load() != 3 {
		t.Errorf("%d engines, %d were tried: %v", len(engines), o.opened.Load(), err)
	}
}

func TestOpeningEnginesEndsWithItsContext(t *testing.T) {
	over := errors.New("another model is wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := opener{before: func(n int64) {
		if n == 2 {
			cancel(over)
		}
	}}
	engines, err := openAll(ctx, 16, 1, o.open, func(float64) {})
	if !errors.Is(err, over) || len(engines) != 2 {
		t.Errorf("%d engines: %v", len(engines), err)
	}
}

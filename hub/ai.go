package hub

import (
	"context"
	"log/slog"
	"sync"

	"detections/infer"
	"detections/session/wire"
)

// Availability is how far the engine is, in the words of /health.
type Availability string

// The stages: None → DOWNLOADING → CONVERTING → ENABLED, or ERROR.
const (
	None        Availability = "None"
	Downloading Availability = "DOWNLOADING"
	Converting  Availability = "CONVERTING"
	Enabled     Availability = "ENABLED"
	Error       Availability = "ERROR"
)

// Availabilities are all of them.
var Availabilities = []Availability{None, Downloading, Converting, Enabled, Error}

// AI loads the engines in the background and gives sessions the batcher.
type AI struct {
	load Load
	log  *slog.Logger

	// Guarded by mu.
	mu      sync.Mutex
	status  AIStatus
	batcher *infer.Batcher
	changed chan struct{} // closed and renewed with every change
}

// AIStatus is the engine's state.
type AIStatus struct {
	Availability Availability
	Percent      float64 // of the stage, −1: not known
	Reason       string  // of ERROR
	Model        string  // name@version
	Provider     string
}

// Load makes the batcher and reports its stages. It runs once, in the background.
type Load func(ctx context.Context, report func(stage Availability, percent float64)) (*infer.Batcher, error)

// NewAI prepares the loading; Run does it.
func NewAI(load Load, log *slog.Logger) *AI {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &AI{load: load, log: log, status: AIStatus{Availability: None, Percent: -1}, changed: make(chan struct{})}
}

// Run loads the engines. It returns when they are ready or have failed.
func (a *AI) Run(ctx context.Context) {
	b, err := a.load(ctx, func(stage Availability, percent float64) {
		a.set(AIStatus{Availability: stage, Percent: percent}, nil)
	})
	if err != nil {
		if ctx.Err() == nil { // else nobody waits for one any more
			a.log.Error("no engine", "err", err)
		}
		a.set(AIStatus{Availability: Error, Percent: -1, Reason: err.Error()}, nil)
		return
	}
	id := b.Identity()
	a.log.Info("engine ready", "model", b.Model().Ref(), "provider", id.Provider, "precision", id.Precision)
	a.set(AIStatus{Availability: Enabled, Percent: 100, Model: b.Model().Ref(), Provider: id.Provider}, b)
}

func (a *AI) set(s AIStatus, b *infer.Batcher) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status, a.batcher = s, b
	close(a.changed)
	a.changed = make(chan struct{})
}

// Status is how far the engine is.
func (a *AI) Status() AIStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

// Model is the model in force, nil while there is none.
func (a *AI) Model() *infer.Model {
	b := a.ready()
	if b == nil {
		return nil
	}
	return b.Model()
}

// Stats are the batcher's counters, zero while there is none.
func (a *AI) Stats() infer.BatcherStats {
	b := a.ready()
	if b == nil {
		return infer.BatcherStats{}
	}
	return b.Stats()
}

// ready is the batcher, nil while there is none.
func (a *AI) ready() *infer.Batcher {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.batcher
}

// Batcher implements session.Inference: it waits until an engine is ready.
func (a *AI) Batcher(ctx context.Context, waiting func()) (*infer.Batcher, error) {
	for told := false; ; {
		a.mu.Lock()
		b, st, changed := a.batcher, a.status, a.changed
		a.mu.Unlock()
		switch {
		case b != nil:
			return b, nil
		case st.Availability == Error:
			return nil, wire.Errorf(wire.EngineUnavailable, "no inference engine: %s", st.Reason)
		case !told:
			waiting()
			told = true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Close closes the engines. No session may run any more.
func (a *AI) Close() error {
	a.mu.Lock()
	b := a.batcher
	a.batcher = nil
	a.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.Close()
}

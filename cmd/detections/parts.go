package main

import (
	"context"
	"errors"
	"log/slog"

	"detections/hub"
	"detections/media/worker"
	"detections/web"
)

// parts are a hub without a door to the outside: serve listens for it, and detect
// --local talks to it in memory.
type parts struct {
	decoders *worker.Pool
	ai       *hub.AI
	hub      *hub.Hub
	face     *web.Server
	loaded   chan struct{} // closed when the engines are ready or have failed; nil: load was not called
}

// build makes the parts. The caller closes them, also after an error.
func build(s *settings, log *slog.Logger) (*parts, error) {
	metrics := web.NewMetrics(version)
	p := &parts{decoders: newDecoders(s, log), ai: hub.NewAI(loadEngines(s, metrics, log), log)}
	var err error
	p.hub, err = hub.New(hub.Config{
		Dir: s.data, Decoders: p.decoders, AI: p.ai,
		Limits: s.limits, OnResult: metrics.ObserveResult, Logger: log,
	})
	if err != nil {
		return p, err
	}
	metrics.Watch(p.hub)
	p.face, err = web.New(web.Config{
		Hub: p.hub, Hosts: s.hosts, Origins: s.origins, Metrics: metrics, Version: version, Logger: log,
	})
	if err != nil {
		return p, &usageError{err}
	}
	return p, nil
}

// load opens the engines in the background until the context ends.
func (p *parts) load(ctx context.Context) {
	p.loaded = make(chan struct{})
	go func() { defer close(p.loaded); p.ai.Run(ctx) }()
}

// close takes the parts apart in the opposite order: sessions, engines, decoders.
// The context of load must have ended.
func (p *parts) close() error {
	if p.loaded != nil {
		<-p.loaded
	}
	var errs []error
	if p.hub != nil {
		errs = append(errs, p.hub.Close())
	}
	return errors.Join(append(errs, p.ai.Close(), p.decoders.Close())...)
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"detections/hub"
	"detections/hub/timeline"
	"detections/media/worker"
	"detections/media/worker/sandbox"
	"detections/session/rtc"
	"detections/web"
	"detections/web/auth"
)

// parts are a hub without a door to the outside: serve listens for it, and detect
// --local talks to it in memory.
type parts struct {
	decoders *worker.Pool
	ai       *hub.AI
	deployer *deployer
	hub      *hub.Hub
	rtc      *rtc.Server // nil: no WebRTC
	face     *web.Server
	metrics  *web.Metrics
	loading  sync.WaitGroup
	auth     *auth.Authenticator // nil: off
	// reachable: other machines can connect.
	reachable bool
	sandbox   *sandbox.Report // of decoder processes; nil: nobody asked
}

// build makes the parts that need no data directory. The caller closes them.
func build(s *settings, log *slog.Logger) *parts {
	m := web.NewMetrics(version)
	p := &parts{decoders: newDecoders(s, log), metrics: m}
	m.WatchDecoders(p.decoders.Count)
	p.deployer = newDeployer(s, m, p.decoders, log)
	p.ai = p.deployer.ai
	return p
}

// open takes the data directory, waits for it if another process is leaving it, and
// takes up the sessions in it. With a store of nil nothing outlives the process.
func (p *parts) open(s *settings, store storeOpener, wait time.Duration, log *slog.Logger) error {
	deliveries, err := s.annotations.outbox(p.metrics, log)
	if err != nil {
		return &usageError{err}
	}
	p.hub, err = hub.New(hub.Config{
		Dir: s.data, Wait: wait, Store: store, Decoders: p.decoders, AI: p.ai,
		Outbox: deliveries, Limits: s.hubLimits(log), OnResult: p.metrics.ObserveResult, OnAppend: p.metrics.ObserveAppend, Logger: log,
	})
	if err != nil {
		return err
	}
	p.metrics.Watch(p.hub)
	if p.rtc, err = s.webrtc.open(p.hub, s.listen, wait, log); err != nil {
		return err
	}
	c := web.Config{Hub: p.hub, Auth: p.auth, Hosts: s.hosts, Origins: s.origins, Metrics: p.metrics, Models: p.deployer, RTC: p.rtc, Version: version, Limits: s.fence.limits, Logger: log}
	if p.sandbox != nil {
		c.Sandbox = p.sandbox
		p.metrics.WatchSandbox(*p.sandbox)
	}
	if box := p.hub.Outbox(); box != nil {
		c.Outbox = box // a nil *Outbox would be something
		p.metrics.WatchOutbox(box)
	}
	if p.reachable && p.auth == nil {
		c.Metrics = nil // they are on --admin-listen
	}
	p.face, err = web.New(c)
	if err != nil {
		return &usageError{err}
	}
	return nil
}

// storeOpener opens the store of the timelines.
type storeOpener func(dir string) (timeline.Store, error)

// onDisk is the store of a hub that serves; nil: in memory.
func onDisk(s *settings, onSync func(time.Duration), log *slog.Logger) storeOpener {
	if s.store == "memory" {
		return nil
	}
	return func(dir string) (timeline.Store, error) {
		o := timeline.Options{OnSync: onSync, Logger: log}
		if s.sync == "always" {
			o.Sync = timeline.Always
		}
		return timeline.OpenPebble(dir, o)
	}
}

// load follows the source of the model in the background until the context ends.
func (p *parts) load(ctx context.Context) { p.loading.Go(func() { p.deployer.run(ctx) }) }

// closeRTC ends media over WebRTC.
func (p *parts) closeRTC() error {
	if p.rtc == nil {
		return nil
	}
	return p.rtc.Close()
}

// guarded finds out which sandbox decoder processes are in. It is an error if it is not
// the one that was asked for.
func (p *parts) guarded(ctx context.Context, log *slog.Logger) error {
	r, err := p.decoders.Probe(ctx)
	if err != nil {
		return err
	}
	if p.sandbox = &r; len(r.Missing) > 0 {
		log.Warn("decoder processes lack a layer of their sandbox", "active", r.Active, "missing", r.Missing)
	} else {
		log.Info("decoder processes are in a sandbox", "active", r.Active)
	}
	return nil
}

// close takes the parts apart in the opposite order: sessions, engines, decoders.
// The context of load must have ended.
func (p *parts) close() error {
	p.loading.Wait()
	var errs []error
	errs = append(errs, p.closeRTC())
	if p.hub != nil {
		errs = append(errs, p.hub.Close())
	}
	return errors.Join(append(errs, p.ai.Close(), p.decoders.Close())...)
}

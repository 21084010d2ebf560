//go:build cgo

package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"detections/hub"
	"detections/infer"
	"detections/infer/loader"
	"detections/infer/ort"
	"detections/session"
	"detections/session/wire"
	"detections/web"
)

// deployer gives the hub's AI versions of the model as they come from a source.
type deployer struct {
	// Static after construction.
	s        *settings
	ai       *hub.AI
	metrics  *web.Metrics
	decoders session.Decoders
	log      *slog.Logger
	kept     *loader.Kept
	watcher  *loader.Watcher // nil: the source makes no sense
	wrong    error           // why
	machine  infer.Machine
	life     context.Context // of what was asked for, whether who asked still waits or not
	end      context.CancelFunc
	work     sync.WaitGroup
	settled  chan struct{} // closed when the first version serves, or there is a reason why not
	settle   sync.Once

	// Guarded by mu.
	mu      sync.Mutex
	force   bool          // the next version is deployed whatever became of it before
	told    loader.State  // by the watcher
	changed chan struct{} // closed and renewed with told
}

func newDeployer(s *settings, m *web.Metrics, decoders session.Decoders, log *slog.Logger) *deployer {
	d := &deployer{
		s: s, metrics: m, decoders: decoders, log: log, kept: loader.NewKept(filepath.Join(s.data, "versions")),
		settled: make(chan struct{}), changed: make(chan struct{}),
	}
	d.life, d.end = context.WithCancel(context.Background())
	d.ai = hub.NewDeployer(hub.AIConfig{
		Find: d.find, Wait: s.engineWait, Lazy: s.engineInit == "lazy", Logger: log, Refused: d.kept.Refused(),
		OnRefused: func(id, why string) {
			if err := d.kept.Refuse(id, why); err != nil {
				log.Warn("that a version is refused is forgotten with the process", "version", id, "err", err)
			}
		},
	})
	source, err := s.source()
	if err != nil {
		d.wrong = err
		return d
	}
	d.watcher = loader.NewWatcher(loader.WatchConfig{Source: source, Poll: s.from.poll, File: d.take, State: d.tell})
	return d
}

// run follows the source until ctx ends.
func (d *deployer) run(ctx context.Context) {
	defer d.work.Wait()
	defer d.end()
	if d.s.engineInit == "lazy" {
		d.settle.Do(func() { close(d.settled) })
		select {
		case <-d.ai.Wanted():
		case <-ctx.Done():
			return
		}
	}
	if d.watcher == nil {
		d.ai.TellSource(hub.SourceStatus{Phase: "failed", Percent: -1, Error: d.wrong.Error()})
		d.settle.Do(func() { close(d.settled) })
		return
	}
	defer d.settle.Do(func() { close(d.settled) })
	d.watcher.Run(ctx)
}

// tell passes on how it goes with the source.
func (d *deployer) tell(st loader.State) {
	s := hub.SourceStatus{
		Name: st.Source, Phase: string(st.Phase), Percent: -1, Failures: st.Failures, Checked: st.Checked, Next: st.Next,
	}
	if st.Phase == loader.Downloading {
		s.ETA = st.Progress.ETA
		if st.Progress.Total > 0 {
			s.Percent = st.Progress.Percent()
		}
	}
	if st.Err != nil {
		s.Error, s.Reason = st.Err.Error(), string(st.Err.Reason)
		switch {
		case st.Err.Reason == loader.Refused:
			s.Next = time.Time{} // it does not get better by waiting
		case st.Phase == loader.Failed && s.Next.IsZero():
			s.Next = time.Now() // it is told in a moment
		}
	}
	d.ai.TellSource(s)
	if st.Phase == loader.Failed || st.Phase == loader.Current {
		d.settle.Do(func() { close(d.settled) })
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = st
	close(d.changed)
	d.changed = make(chan struct{})
}

// take deploys a version.
func (d *deployer) take(ctx context.Context, f loader.File) error {
	d.mu.Lock()
	force := d.force
	d.force = false
	d.mu.Unlock()
	err := d.deploy(ctx, f, force)
	if err != nil && ctx.Err() == nil && d.ai.Model() == nil {
		d.standIn(ctx, f)
	}
	return err
}

// standIn lets the version that served last serve instead of one that cannot.
func (d *deployer) standIn(ctx context.Context, f loader.File) {
	last, err := d.kept.Last(f.Key())
	if err == nil && d.kept.Refused()[last.Key()] == "" {
		err = d.ai.Deploy(ctx, d.version(last), false)
	}
	switch {
	case err == nil:
		d.log.Warn("the version that served last serves again", "model", last.Name+"@"+last.Version)
	case !errors.Is(err, fs.ErrNotExist):
		d.log.Warn("the version that served last cannot stand in", "err", err)
	}
}

func (d *deployer) deploy(ctx context.Context, f loader.File, force bool) error {
	if err := d.ai.Deploy(ctx, d.version(f), force); err != nil {
		return err
	}
	if m := d.ai.Model(); m != nil && m.SHA256 == f.SHA256 && !isEmbedded(f) {
		if err := errors.Join(d.kept.Serves(&f, m.Key()), d.kept.Collect(d.ai.InUse())); err != nil {
			d.log.Warn("the versions that are kept are not in order", "err", err)
		}
	}
	return nil
}

func isEmbedded(f loader.File) bool {
	e, err := loader.Embedded()
	return err == nil && e.Key() == f.Key()
}

// find gives an earlier version.
func (d *deployer) find(_ context.Context, key infer.ModelKey) (*hub.Version, error) {
	if e, err := loader.Embedded(); err == nil && key == (infer.ModelKey{SHA256: e.SHA256}) {
		return d.version(e), nil
	}
	f, err := d.kept.Find(key)
	if err != nil {
		return nil, err
	}
	return d.version(f), nil
}

// version is how engines are made of a file.
func (d *deployer) version(f loader.File) *hub.Version {
	v := &hub.Version{ID: f.Key(), Ref: f.Name + "@" + f.Version}
	p := &plan{deployer: d, file: f}
	p.model = sync.OnceValues(func() (*infer.Model, error) {
		return d.s.describe(f, p.priority())
	})
	if !isEmbedded(f) {
		v.Check = p.check
	}
	for _, name := range d.s.providers {
		provider := hub.Provider{Name: name, Open: func(ctx context.Context, report func(float64)) (*infer.Batcher, error) {
			return p.open(ctx, name, report)
		}}
		if name != "cpu" {
			provider.Missing = func() (bool, error) { return p.missing(name) }
			provider.Build = func(ctx context.Context, report func(float64)) error { return p.build(ctx, name, report) }
		}
		v.Providers = append(v.Providers, provider)
	}
	return v
}

// plan is how engines are made of one version.
type plan struct {
	*deployer
	file  loader.File
	path  string // of its copy; empty: the embedded one
	spare bool   // there is time that nobody wants: it was tried in that
	model func() (*infer.Model, error)
}

// check tries the version in a process of its own, which it may end or fill. While
// frames are inferred that is done in the time that nobody wants, if there is some.
func (p *plan) check(ctx context.Context) (err error) {
	if p.path, err = p.kept.Keep(&p.file); err != nil {
		return err
	}
	j := childJob{provider: "cpu", path: p.path, memory: p.s.modelRoom(p.file.SHA256), limit: checkTime, spare: p.ai.Model() != nil}
	if err = p.s.child(ctx, j, nil); errors.Is(err, errStarved) {
		j.spare = false
		err = p.s.child(ctx, j, nil)
	}
	p.spare = j.spare
	return err
}

// priority is that of loading the version.
func (p *plan) priority() ort.Priority {
	switch {
	case p.ai.Model() == nil:
		return ort.Normal
	case p.spare:
		return ort.Spare
	default:
		return ort.Low
	}
}

// missing says whether a provider's engines must be built first.
func (p *plan) missing(provider string) (bool, error) {
	m, err := p.model()
	if err != nil {
		return false, err
	}
	built, err := ort.IsBuilt(m, p.s.engine(provider, 1, p.log))
	return !built, err
}

// build builds a provider's engines in a process of its own.
func (p *plan) build(ctx context.Context, provider string, report func(float64)) error {
	return p.s.child(ctx, childJob{provider: provider, path: p.path}, report)
}

// open loads the engines, and looks at the golden pictures beside the model.
func (p *plan) open(ctx context.Context, provider string, report func(float64)) (*infer.Batcher, error) {
	m, err := p.model()
	if err != nil {
		return nil, err
	}
	engines, threads, err := openEngines(ctx, p.s, p.file, m, provider, p.priority(), report, p.log)
	if err != nil {
		return nil, err
	}
	c := p.s.batcher(engines, threads, p.file, p.metrics, p.log)
	c.Machine = &p.machine
	b, err := infer.NewBatcher(c)
	if err != nil {
		return nil, errors.Join(err, closeAll(engines))
	}
	if err := p.golden(ctx, b); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Check implements web.Models: it asks the source now, and waits until what it has is
// in use or refused.
func (d *deployer) Check(ctx context.Context, force bool) error {
	if d.watcher == nil {
		return wire.Errorf(wire.Conflict, "%s", d.wrong)
	}
	d.mu.Lock()
	d.force = force
	changed := d.changed
	d.mu.Unlock()
	d.watcher.Check(force)
	for asked := false; ; {
		select {
		case <-changed:
		case <-ctx.Done():
			return errLonger
		}
		d.mu.Lock()
		st := d.told
		changed = d.changed
		d.mu.Unlock()
		switch {
		case !asked:
			asked = st.Next.IsZero() // the attempt has begun
		case st.Phase == loader.Failed && st.Err != nil:
			return wire.Errorf(wire.BadModel, "%s", st.Err)
		case st.Phase == loader.Current:
			return nil
		}
	}
}

// Use implements web.Models: it deploys a file of the folder in which the model is.
func (d *deployer) Use(ctx context.Context, name string) error {
	if d.s.model == "" {
		return wire.Errorf(wire.Conflict, "file: expected a hub with --model; this one takes its model from elsewhere")
	}
	dir := d.s.model
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	if rel, err := filepath.Rel(dir, name); err == nil && filepath.IsAbs(name) {
		name = rel
	}
	if !filepath.IsLocal(name) || filepath.Ext(name) != ".onnx" {
		return wire.Errorf(wire.BadMessage, "file: expected a file *.onnx in %s, got %.200q", dir, name)
	}
	f, err := loader.ReadFile(filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.Errorf(wire.BadModel, "file: there is no %s in %s", name, dir)
	case err == nil:
		err = d.finish(ctx, func(ctx context.Context) error { return d.deploy(ctx, f, true) })
	}
	if errors.Is(err, errLonger) {
		return err
	}
	if err != nil {
		return wire.Errorf(wire.BadModel, "%s is refused, and what served goes on: %s", name, err)
	}
	return nil
}

// Rollback implements web.Models.
func (d *deployer) Rollback(ctx context.Context) error {
	err := d.finish(ctx, func(ctx context.Context) error {
		_, err := d.ai.Rollback(ctx, "somebody asked for it")
		return err
	})
	if err != nil && !errors.Is(err, errLonger) {
		return wire.Errorf(wire.Conflict, "roll back: %s", err)
	}
	return err
}

var errLonger = wire.Errorf(wire.Overloaded, "it takes longer; GET /v1/model says how far it is")

// finish does something to its end, also if who asked for it does not wait.
func (d *deployer) finish(ctx context.Context, do func(ctx context.Context) error) error {
	done := make(chan error, 1)
	d.work.Go(func() { done <- do(d.life) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errLonger
	}
}

// once deploys what the source has now, and does not look again.
func (d *deployer) once(ctx context.Context) {
	defer d.settle.Do(func() { close(d.settled) })
	f, err := d.s.file(ctx, func(p loader.Progress) {
		d.ai.TellSource(hub.SourceStatus{Phase: string(loader.Downloading), Percent: p.Percent(), ETA: p.ETA})
	})
	if err == nil {
		v := d.version(f)
		v.Check = nil // what is tried is this process
		err = d.ai.Deploy(ctx, v, true)
	}
	if err != nil && ctx.Err() == nil {
		d.ai.Fail(err)
	}
}

// engine are the options of one engine.
func (s *settings) engine(provider string, threads int, log *slog.Logger) ort.Options {
	o := ort.Options{
		Providers: []string{provider}, Threads: threads, MaxBatch: s.schedule.maxBatch, Logger: log,
		Cache: filepath.Join(s.data, "engines"),
	}
	s.gpu.options(&o, provider)
	return o
}

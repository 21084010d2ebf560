package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"detections/infer"
)

// Version is one version of a model, of which engines can be made.
type Version struct {
	// ID tells it from others, also from one of the same name.
	ID string
	// Ref is how results name it: name@version.
	Ref string
	// Check tries it where it can do no harm; nil: it is known to be good.
	Check func(ctx context.Context) error
	// Providers are what can run it, best first.
	Providers []Provider
}

// Provider makes engines of a version with one execution provider.
type Provider struct {
	Name string
	// Missing says that Build is needed before Open. An error says why this provider
	// cannot be used. nil: nothing is missing.
	Missing func() (bool, error)
	// Build makes what Open needs, in another process, and may take minutes.
	Build func(ctx context.Context, report func(percent float64)) error
	// Open loads the engines and tries them.
	Open func(ctx context.Context, report func(percent float64)) (*infer.Batcher, error)
}

var errOther = errors.New("the version that was found is another one")

func (v *Version) deployment() *deployment {
	d := &deployment{version: v}
	for _, p := range v.Providers {
		d.states = append(d.states, ProviderStatus{Name: p.Name, State: ProviderSpare})
	}
	return d
}

// Deploy lets a version serve. It returns when it does, or says why it cannot: then what
// served goes on. A version that was rolled back is refused unless force is set.
func (a *AI) Deploy(ctx context.Context, v *Version, force bool) error {
	if !a.takeTurn(ctx) {
		return ctx.Err()
	}
	defer func() { <-a.turn }()
	err := a.deploy(ctx, v, force)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if a.ready() == nil {
		a.log.Error("no engine", "model", v.Ref, "err", err)
		a.Fail(err)
	} else {
		a.log.Error("a version of the model is refused; the one before goes on", "model", v.Ref, "err", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.status.Update = &Step{To: v.Ref, Stage: Error, Percent: -1, Reason: err.Error()}
	a.swaps.Refused++
	a.notify()
	return err
}

// takeTurn waits until nobody else deploys or rolls back.
func (a *AI) takeTurn(ctx context.Context) bool {
	select {
	case a.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (a *AI) deploy(ctx context.Context, v *Version, force bool) error {
	begun := time.Now()
	a.mu.Lock()
	why := a.refused[v.ID]
	same := !force && a.serving != nil && a.serving.version.ID == v.ID
	if same {
		a.status.Update = nil
		a.notify()
	}
	a.mu.Unlock()
	if same {
		return nil
	}
	if why != "" && !force {
		return fmt.Errorf("it was rolled back: %s", why)
	}
	report := a.progress(v)
	report(0)
	if v.Check != nil {
		if err := v.Check(ctx); err != nil {
			return err
		}
	}
	d := v.deployment()
	c, better, err := a.start(ctx, d, report)
	if err != nil {
		return err
	}
	a.mu.Lock()
	before, gone := a.serving, a.former
	a.former = nil
	if before != nil {
		a.former = &former{version: before.version, d: before, release: a.hold(before.now).Release}
		a.swaps.Deployed++
	}
	delete(a.refused, v.ID)
	if before != nil { // else it may stand in for one that was refused
		a.status.Update = nil
	}
	f := a.former
	a.mu.Unlock()
	if why != "" {
		a.cfg.OnRefused(v.ID, "")
	}
	a.install(d, c)
	a.forget(gone)
	if before != nil {
		a.log.Info("another version of the model serves", "model", v.Ref, "before", before.version.Ref,
			"labels_gone", lost(before, d), "dur", time.Since(begun))
		a.work.Go(func() { a.try(d, f) })
	}
	a.improve(d, better)
	return nil
}

// lost are the labels that a version lacks and the one before had: sessions that asked
// for them find nothing of those.
func lost(before, after *deployment) (labels []string) {
	now := after.now.batcher.Model().Labels
	for _, l := range before.now.batcher.Model().Labels {
		if !slices.Contains(now, l) {
			labels = append(labels, l)
		}
	}
	return labels
}

// progress tells how far a version is: as the stage while nothing serves, else as update.
func (a *AI) progress(v *Version) func(percent float64) {
	var m meter
	return func(percent float64) {
		a.stage(Converting, percent)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.serving != nil {
			a.status.Update = &Step{To: v.Ref, Stage: Converting, Percent: percent, ETA: m.eta(percent)}
			a.notify()
		}
	}
}

// start makes the first crew of a deployment, on the best provider that needs no
// building; better are those that are worth building then. If all need it, the best
// that can be built is waited for.
func (a *AI) start(ctx context.Context, d *deployment, report func(float64)) (c *crew, better []Provider, err error) {
	var missing []Provider
	var why reasons
	failed := func(p Provider, err error) {
		why = append(why, reason{p.Name, err.Error()})
		a.log.Info("execution provider not used", "provider", p.Name, "model", d.version.Ref, "why", err)
		a.say(d, p.Name, ProviderFailed, err.Error())
	}
	for _, p := range d.version.Providers {
		needs, err := p.isMissing()
		switch {
		case err != nil:
			failed(p, err)
		case needs:
			missing = append(missing, p)
		default:
			b, err := p.Open(ctx, report)
			if err == nil {
				a.say(d, p.Name, ProviderServing, "")
				return a.crew(d, b), missing, nil
			}
			failed(p, err)
		}
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
	for i, p := range missing {
		b, err := a.build(ctx, d, p, report)
		if err == nil {
			return a.crew(d, b), missing[:i], nil
		}
		failed(p, err)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
	return nil, nil, why.err()
}

// reasons are why providers cannot be used.
type reasons []reason

type reason struct{ provider, why string }

// err says all of them; what holds for all providers is about the model, and said once.
func (r reasons) err() error {
	var all []string
	for _, p := range r {
		all = append(all, p.provider+": "+p.why)
	}
	if !slices.ContainsFunc(r, func(p reason) bool { return p.why != r[0].why }) && len(r) > 0 {
		return errors.New(r[0].why)
	}
	return fmt.Errorf("no execution provider works: %s", strings.Join(all, "; "))
}

func (p *Provider) isMissing() (bool, error) {
	if p.Missing == nil {
		return false, nil
	}
	return p.Missing()
}

// build builds for a provider and opens what was built.
func (a *AI) build(ctx context.Context, d *deployment, p Provider, report func(float64)) (*infer.Batcher, error) {
	begun := time.Now()
	a.say(d, p.Name, ProviderBuilding, "")
	a.log.Info("building engines", "provider", p.Name, "model", d.version.Ref)
	if err := p.Build(ctx, report); err != nil {
		return nil, err
	}
	a.log.Info("engines built", "provider", p.Name, "model", d.version.Ref, "dur", time.Since(begun))
	b, err := p.Open(ctx, func(float64) {})
	if err == nil {
		a.say(d, p.Name, ProviderServing, "")
	}
	return b, err
}

func (a *AI) say(d *deployment, provider string, state ProviderState, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d.tell(provider, state, reason)
	a.notify()
}

// improve builds for better providers in the background, the best first, and lets the
// first that works serve.
func (a *AI) improve(d *deployment, better []Provider) {
	if len(better) == 0 {
		return
	}
	a.mu.Lock()
	ctx, stop := context.WithCancel(a.ctx)
	d.stop = stop
	a.mu.Unlock()
	a.work.Go(func() {
		defer stop()
		for _, p := range better {
			if a.upgrade(ctx, d, p) || ctx.Err() != nil {
				return
			}
		}
	})
}

// upgrade says whether the provider's engines serve now.
func (a *AI) upgrade(ctx context.Context, d *deployment, p Provider) bool {
	var m meter
	report := func(percent float64) {
		a.mu.Lock()
		defer a.mu.Unlock()
		d.upgrade = &Step{To: p.Name, Stage: Converting, Percent: percent, ETA: m.eta(percent)}
		a.notify()
	}
	report(-1)
	b, err := a.build(ctx, d, p, report)
	if a.takeTurn(ctx) {
		defer func() { <-a.turn }()
	}
	a.mu.Lock()
	d.upgrade = nil
	still := a.serving == d && ctx.Err() == nil
	if err != nil && ctx.Err() == nil {
		a.swaps.UpgradesFailed++
		d.tell(p.Name, ProviderFailed, err.Error())
		a.log.Warn("better engines could not be made", "provider", p.Name, "model", d.version.Ref, "err", err)
	}
	if err == nil && still {
		a.swaps.Upgraded++
	}
	a.notify()
	a.mu.Unlock()
	switch {
	case err != nil:
		return false
	case !still:
		_ = b.Close() // it did nothing
		return false
	}
	a.install(d, a.crew(d, b))
	return true
}

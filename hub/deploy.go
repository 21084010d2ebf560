package hub

import (
	"cmp"
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
	switch {
	case err == nil || ctx.Err() != nil:
	case a.ready() == nil:
		a.log.Error("no engine", "model", v.Ref, "err", err)
		a.Fail(err)
	default:
		a.log.Error("a version of the model is refused; the one before goes on", "model", v.Ref, "err", err)
		a.mu.Lock()
		a.status.Update = &Step{To: v.Ref, Stage: Error, Percent: -1, Reason: err.Error()}
		a.swaps.Refused++
		a.notify()
		a.mu.Unlock()
	}
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
	a.status.Update = nil
	f := a.former
	a.mu.Unlock()
	a.install(d, c)
	a.forget(gone)
	if before != nil {
		a.log.Info("another version of the model serves", "model", v.Ref, "before", before.version.Ref, "dur", time.Since(begun))
		a.work.Go(func() { a.try(d, f) })
	}
	a.improve(d, better)
	return nil
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

// former is the version before the one that serves.
type former struct {
	version *Version
	d       *deployment
	release func() // nil: its engines are given up
}

// forget gives a former version's engines up; f may be nil.
func (a *AI) forget(f *former) (held bool) {
	if f == nil {
		return false
	}
	a.mu.Lock()
	release := f.release
	f.release = nil
	a.mu.Unlock()
	if release != nil {
		release()
	}
	return release != nil
}

// Rollback goes back to the version before the one that serves: at once while that is
// on trial, else by loading it again. The one that served is not deployed again unless
// forced.
func (a *AI) Rollback(ctx context.Context, why string) (ref string, err error) {
	if !a.takeTurn(ctx) {
		return "", ctx.Err()
	}
	defer func() { <-a.turn }()
	a.mu.Lock()
	f, bad := a.former, a.serving
	a.mu.Unlock()
	if f == nil || bad == nil {
		return "", errNoFormer
	}
	return f.version.Ref, a.rollBack(ctx, bad, f, why)
}

var errNoFormer = errors.New("there is no version to go back to")

// rollBack lets the former version serve again. The caller has the turn.
func (a *AI) rollBack(ctx context.Context, bad *deployment, f *former, why string) error {
	a.mu.Lock()
	d, release := f.d, f.release
	if a.serving != bad || a.former != f {
		a.mu.Unlock()
		return errNoFormer
	}
	a.former, f.release = nil, nil
	a.mu.Unlock()
	var c *crew
	if release == nil { // its engines may be gone
		d = f.version.deployment()
		var err error
		if c, _, err = a.start(ctx, d, func(float64) {}); err != nil {
			return fmt.Errorf("go back to %s: %w", f.version.Ref, err)
		}
	} else {
		defer release()
		c = d.now
	}
	a.mu.Lock()
	bad.withdrawn = true
	a.refused[bad.version.ID] = why
	a.swaps.RolledBack++
	a.status.Update = &Step{To: bad.version.Ref, Stage: Error, Percent: -1, Reason: "rolled back: " + why}
	a.mu.Unlock()
	a.log.Error("the version before serves again", "model", f.version.Ref, "instead_of", bad.version.Ref, "why", why)
	a.install(d, c)
	return nil
}

// Trial says how a version that replaced another is watched, while that is kept ready.
type Trial struct {
	// Frames is how many are looked at. Default 200.
	Frames int64
	// Errors is the part of them that may fail. Default 0.2; of fewer than 8 nothing follows.
	Errors float64
	// Time ends the trial, also without frames. Default 10 minutes.
	Time time.Duration
}

func (t Trial) withDefaults() Trial {
	return Trial{Frames: cmp.Or(t.Frames, 200), Errors: cmp.Or(t.Errors, 0.2), Time: cmp.Or(t.Time, 10*time.Minute)}
}

const (
	trialLeast = 8
	trialEvery = 50 * time.Millisecond
)

// try watches a version's first frames, and goes back to the former one if too many fail.
func (a *AI) try(d *deployment, f *former) {
	tick := time.NewTicker(trialEvery)
	defer tick.Stop()
	end := time.Now().Add(a.cfg.Trial.Time)
	for time.Now().Before(end) {
		select {
		case <-tick.C:
		case <-a.ctx.Done():
			return
		}
		a.mu.Lock()
		over := a.serving != d || a.former != f
		b := d.now.batcher
		a.mu.Unlock()
		if over {
			return
		}
		st := b.Stats()
		n := st.Images + st.Failed
		if st.Stuck > 0 || st.Failed >= trialLeast && float64(st.Failed) > a.cfg.Trial.Errors*float64(n) {
			why := fmt.Sprintf("%d of its first %d frames failed", st.Failed, n)
			if st.Stuck > 0 {
				why = "an engine does not return from a run"
			}
			if !a.takeTurn(a.ctx) {
				return
			}
			err := a.rollBack(a.ctx, d, f, why)
			<-a.turn
			if err != nil {
				a.log.Error("going back to the version before failed", "err", err)
			}
			return
		}
		if n >= a.cfg.Trial.Frames {
			break
		}
	}
	if a.forget(f) {
		a.log.Info("a version of the model has passed its trial", "model", d.version.Ref)
	}
}

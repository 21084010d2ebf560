package hub

import (
	"context"
	"fmt"
	"slices"
	"time"

	"detections/infer"
	"detections/session"
	"detections/session/wire"
)

// deployment is a version of the model with the engines that it has now. All of it is
// guarded by AI.mu.
type deployment struct {
	version   *Version
	now       *crew
	states    []ProviderStatus
	upgrade   *Step
	stop      context.CancelFunc // of its upgrade; nil: there is none
	withdrawn bool               // no session keeps it
}

// crew is a Batcher with those who use it. Guarded by AI.mu.
type crew struct {
	of      *deployment
	batcher *infer.Batcher
	holds   int
}

func (a *AI) crew(d *deployment, b *infer.Batcher) *crew { return &crew{of: d, batcher: b} }

func (d *deployment) key() infer.ModelKey { return d.now.batcher.Model().Key() }

// providers are the states, with the one that serves as its engines say. a.mu is held.
func (d *deployment) providers() []ProviderStatus {
	if len(d.states) == 0 {
		return []ProviderStatus{{Name: d.now.batcher.Identity().Provider, State: ProviderServing}}
	}
	return slices.Clone(d.states)
}

// tell says what became of a provider. a.mu is held.
func (d *deployment) tell(name string, state ProviderState, reason string) {
	for i := range d.states {
		switch p := &d.states[i]; {
		case p.Name == name:
			p.State, p.Reason = state, reason
		case state == ProviderServing && p.State == ProviderServing:
			p.State = ProviderSpare
		}
	}
}

// install lets a crew serve, of the same deployment or another one, between two batches
// of each session.
func (a *AI) install(d *deployment, c *crew) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, m := c.batcher.Identity(), c.batcher.Model()
	a.log.Info("engine ready", "model", m.Ref(), "provider", id.Provider, "precision", id.Precision, "engines", c.batcher.Stats().Engines)
	old, before := d.now, a.serving
	d.now, a.serving = c, d
	a.kept = slices.DeleteFunc(a.kept, func(k *deployment) bool { return k == d })
	if old != nil && old != c {
		a.tidy(old)
	}
	if before != nil && before != d {
		if before.stop != nil {
			before.stop()
		}
		a.kept = append(a.kept, before)
		a.tidy(before.now)
	}
	a.status.Availability, a.status.Percent, a.status.ETA, a.status.Reason = Enabled, 100, 0, ""
	a.status.Model, a.status.Provider, a.status.Precision = m.Ref(), id.Provider, id.Precision
	close(a.moved)
	a.moved = make(chan struct{})
	a.notify()
}

// tidy frees a crew that nobody uses or will use. a.mu is held.
func (a *AI) tidy(c *crew) {
	d := c.of
	if c.holds > 0 || a.closed || c == d.now && d == a.serving {
		return
	}
	if c == d.now {
		if !slices.Contains(a.kept, d) {
			return // freed already
		}
		a.kept = slices.DeleteFunc(a.kept, func(k *deployment) bool { return k == d })
	}
	a.work.Go(func() {
		begun, id := time.Now(), c.batcher.Identity()
		err := c.batcher.Close() // after its last frame
		a.log.Info("engines freed", "model", c.batcher.Model().Ref(), "provider", id.Provider, "dur", time.Since(begun), "err", err)
	})
	a.notify()
}

// hold counts somebody in. a.mu is held.
func (a *AI) hold(c *crew) *session.Hold {
	c.holds++
	held := true // guarded by a.mu
	return &session.Hold{Batcher: c.batcher, Moved: a.moved, Release: func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if held {
			held = false
			c.holds--
			a.tidy(c)
		}
	}}
}

// pick gives the crew that somebody can use; nil: there is none yet. a.mu is held.
func (a *AI) pick(w session.Want) *crew {
	if a.serving == nil || a.closed {
		return nil
	}
	if !w.Keep || w.Model == (infer.ModelKey{}) || w.Model == a.serving.key() {
		return a.serving.now
	}
	for _, d := range a.kept {
		switch {
		case d.key() != w.Model:
		case d.withdrawn && d.now.batcher.Model().Input.View() == a.serving.now.batcher.Model().Input.View():
			return a.serving.now
		default:
			return d.now
		}
	}
	switch r := a.recalls[w.Model]; {
	case a.cfg.Find == nil, r != nil && r.failed:
		return a.serving.now
	case r == nil:
		a.recall(w.Model)
	}
	return nil
}

// Acquire implements session.Inference: it waits until an engine is ready, for a time.
func (a *AI) Acquire(ctx context.Context, w session.Want, waiting func(wire.AI)) (*session.Hold, error) {
	patience := a.cfg.Wait
	if w.Picture {
		patience = min(patience, MaxPictureWait)
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for {
		a.mu.Lock()
		if !a.isAsked {
			a.isAsked = true
			close(a.wanted)
		}
		c := a.pick(w)
		if c != nil {
			defer a.mu.Unlock()
			return a.hold(c), nil
		}
		st, changed := a.status, a.changed
		a.mu.Unlock()
		final := st.Source == nil || st.Source.Next.IsZero() || w.Picture
		if st.Availability == Error && final {
			return nil, wire.Errorf(wire.EngineUnavailable, "no inference engine: %s", st.Reason)
		}
		waiting(st.Told())
		select {
		case <-changed:
		case <-over.C:
			return nil, wire.Errorf(wire.EngineUnavailable, "no inference engine within %v: aiAvailability is %s", patience, st.Words())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Words are the stage and its reason or percentage.
func (st AIStatus) Words() string {
	switch {
	case st.Reason != "":
		return string(st.Availability) + ": " + st.Reason
	case st.Percent >= 0:
		return fmt.Sprintf("%s (%.0f %%)", st.Availability, st.Percent)
	}
	return string(st.Availability)
}

// Told is the status as clients are told of it.
func (st AIStatus) Told() wire.AI {
	ai := wire.AI{Availability: string(st.Availability), Reason: st.Reason}
	if st.Percent >= 0 {
		ai.Percent = new(wire.Decimal(st.Percent))
	}
	if st.ETA > 0 {
		ai.ETA = new(wire.Millis(st.ETA))
	}
	return ai
}

// recall is an earlier version that is made ready for a session of an earlier process.
type recall struct{ failed bool }

// recallGrace is how long the engines of a recalled version wait for who wants them.
const recallGrace = 5 * time.Second

// recall makes an earlier version ready in the background. a.mu is held.
func (a *AI) recall(key infer.ModelKey) {
	r := &recall{}
	a.recalls[key] = r
	a.work.Go(func() {
		d, err := a.revive(key)
		a.mu.Lock()
		if err != nil {
			r.failed = true
			a.log.Warn("a version of the model is gone; sessions that began with it go on with another", "sha256", key.SHA256, "err", err)
			a.notify()
			a.mu.Unlock()
			return
		}
		a.log.Info("an earlier version of the model is ready for sessions that began with it", "model", d.version.Ref)
		a.kept = append(a.kept, d)
		release := a.hold(d.now).Release
		delete(a.recalls, key)
		a.notify()
		a.mu.Unlock()
		select {
		case <-time.After(recallGrace):
		case <-a.ctx.Done():
		}
		release()
	})
}

func (a *AI) revive(key infer.ModelKey) (*deployment, error) {
	v, err := a.cfg.Find(a.ctx, key)
	if err != nil {
		return nil, err
	}
	d := v.deployment()
	c, _, err := a.start(a.ctx, d, func(float64) {})
	if err != nil {
		return nil, err
	}
	d.now = c
	if got := d.key(); got != key {
		a.mu.Lock()
		a.kept = append(a.kept, d)
		a.tidy(c)
		a.mu.Unlock()
		return nil, errOther
	}
	return d, nil
}

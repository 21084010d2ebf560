package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

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
	a.cfg.OnRefused(bad.version.ID, why)
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

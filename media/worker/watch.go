package worker

import (
	"context"
	"sync"
	"time"

	"detections/media"
)

// waitState is what a Next that waits keeps: its context and the watchdog's memory.
type waitState struct {
	// Owned by Next.
	done     <-chan struct{} // of the context that stop belongs to
	progress uint64          // when ok
	ok       time.Time       // when the process was last seen busy or rightly waiting

	mu    sync.Mutex
	stop  func() bool // guarded by mu
	which int         // guarded by mu: counts contexts
}

// startup is how long a process may take until it is ready for its job.
const startup = 20 * time.Second

// polls is how often the watchdog looks within the time of a stall.
const polls = 4

// arm makes the socket's reads end when ctx does, and when the watchdog wants to
// look. Calls with the same context, the usual case, cost nothing.
func (d *decoder) arm(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &d.wait
	if w.done == ctx.Done() && w.stop != nil {
		return nil
	}
	w.done = ctx.Done()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop != nil {
		w.stop()
	}
	w.which++
	which := w.which
	d.proc.reports.SetReadDeadline(time.Now().Add(d.pool.cfg.Stall / polls))
	w.stop = context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if which == w.which {
			d.proc.reports.SetReadDeadline(time.Unix(1, 0))
		}
	})
	return nil
}

// disarm lets go of the context.
func (d *decoder) disarm() {
	d.wait.mu.Lock()
	defer d.wait.mu.Unlock()
	if d.wait.stop != nil {
		d.wait.stop()
	}
}

// expired is called when a read's deadline has passed: the context is done, or it
// is time to look after the process.
func (d *decoder) expired(ctx context.Context) error {
	w := &d.wait
	now := time.Now()
	w.mu.Lock()
	if ctx.Err() == nil {
		d.proc.reports.SetReadDeadline(now.Add(d.pool.cfg.Stall / polls))
	}
	w.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	progress, fine := d.look()
	if !d.hello {
		fine = now.Sub(d.began) < startup
	}
	if fine || progress != w.progress {
		w.progress, w.ok = progress, now
		return nil
	}
	if now.Sub(w.ok) < d.pool.cfg.Stall {
		return nil
	}
	return d.end(&media.Error{Kind: media.ErrStalled, Message: "decoding made no progress for " + d.pool.cfg.Stall.String() + " although there was input"})
}

// look reads the status of the process. fine says that it waits for something that
// it really does not have.
func (d *decoder) look() (progress uint64, fine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, true // the memory may be gone
	}
	st := d.ring.status()
	switch state(st.state.Load()) {
	case awaitingInput:
		fine = !d.final && st.have.Load() >= d.size
	case awaitingSlot:
		fine = d.held == 1<<d.ring.slots-1
	}
	return st.progress.Load(), fine
}

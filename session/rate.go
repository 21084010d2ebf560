package session

import (
	"time"

	"detections/session/wire"
)

// Rates bound how fast a session's media may come, in bytes per second; 0: any.
type Rates struct {
	// Most is never exceeded for longer than a second: the feeder waits.
	Most int64
	// Least is how much must come, averaged over slowFor, while a feeder is there; or
	// the input counts as cut off. A live input may be as slow as it likes.
	Least int64
}

// slowFor is how long an input may be too slow.
const slowFor = time.Minute

// roomEvery is after how many bytes of an input the disk is looked at again.
const roomEvery = 16 << 20

// brake is what a feeder has sent lately. Owned by its goroutine.
type brake struct {
	due    time.Time // when what was sent is allowed to have been sent
	unseen int64     // bytes since the disk was looked at
}

// hold waits as long as n bytes more would be too fast, and says if there is no room.
func (f *Feeder) hold(n int) error {
	cfg := &f.in.s.cfg
	if f.brake.unseen += int64(n); f.brake.unseen >= roomEvery && cfg.Room != nil {
		f.brake.unseen = 0
		if err := cfg.Room(); err != nil {
			return err
		}
	}
	if cfg.Rates.Most == 0 {
		return nil
	}
	now := time.Now()
	if early := f.brake.due.Add(-time.Second); early.After(now) { // a second's worth may come at once
		t := time.NewTimer(early.Sub(now))
		defer t.Stop()
		select {
		case <-t.C:
		case <-f.in.ended:
		case <-f.replaced:
		}
	}
	if f.brake.due.Before(now) {
		f.brake.due = now
	}
	f.brake.due = f.brake.due.Add(time.Duration(float64(n) / float64(cfg.Rates.Most) * float64(time.Second)))
	return nil
}

// watchPace ends the input of a feeder that is too slow. in.mu is held.
func (in *input) watchPace(f *Feeder) {
	least := in.s.cfg.Rates.Least
	if least == 0 || in.s.mode == wire.Live {
		return
	}
	before := in.s.received()
	in.pace = time.AfterFunc(slowFor, func() {
		in.mu.Lock()
		defer in.grow()
		defer in.mu.Unlock()
		if in.feeder != f || in.final || in.closed {
			return
		}
		if n := in.s.received() - before; n < least*int64(slowFor/time.Second) {
			in.end(wire.Errorf(wire.UploadIncomplete, "the media came too slowly: %d bytes within %v, at least %d a second are expected of a file (setting min-media-rate); slower media is sent in mode live. Results so far are kept",
				n, slowFor, least))
			return
		}
		in.watchPace(f)
	})
}

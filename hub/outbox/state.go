package outbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// State is how deliveries are going, as GET /v1/outbox shows it.
type State struct {
	URL     string `json:"url"`
	Breaker string `json:"breaker"` // Closed, Open or HalfOpen
	// Retry is when the service is tried again, if the breaker is open.
	Retry *time.Time `json:"retry,omitempty"`
	// Sessions have events that are not delivered; Stalled of them wait for room
	// among the dead letters.
	Sessions int `json:"sessions"`
	Stalled  int `json:"stalled"`
	// Events are not delivered yet, those included that will turn out to be of a kind
	// that is not delivered.
	Events uint64 `json:"events"`
	// Oldest is for how many seconds the session that has waited longest had nothing
	// delivered.
	Oldest float64 `json:"oldest_s"`
	// Since the start: events that were stored, requests that had to be repeated, and
	// events that were refused.
	Sent    uint64 `json:"sent"`
	Retried uint64 `json:"retried"`
	Refused uint64 `json:"refused"`
	// Unpictured events were to have a picture, and were delivered without.
	Unpictured uint64 `json:"unpictured"`
	// Letters are the dead letters, at most Limit.
	Letters int `json:"letters"`
	Limit   int `json:"limit"`
	// Error is what went wrong last, and ErrorAt when.
	Error   string     `json:"error,omitempty"`
	ErrorAt *time.Time `json:"error_at,omitempty"`
}

// State says how deliveries are going.
func (o *Outbox) State() State {
	st := State{
		URL: o.cfg.Service.URL(), Sent: o.sent.Load(), Retried: o.retried.Load(), Refused: o.parked.Load(),
		Unpictured: o.unpictured.Load(),
		Letters:    o.letters.count(), Limit: o.cfg.Letters,
	}
	var retry, oldest time.Time
	if st.Breaker, retry = o.breaker.state(); !retry.IsZero() {
		st.Retry = new(retry.UTC())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	st.Sessions, st.Events, st.Stalled, oldest = o.backlog()
	if !oldest.IsZero() {
		st.Oldest = time.Since(oldest).Seconds()
	}
	if st.Error = o.lastErr; !o.lastAt.IsZero() {
		st.ErrorAt = new(o.lastAt.UTC())
	}
	return st
}

// Letters are the dead letters by session and offset, without their requests.
func (o *Outbox) Letters() []Letter { return o.letters.list() }

// Replayed is what became of dead letters.
type Replayed struct {
	Delivered int `json:"delivered"`
	Refused   int `json:"refused"` // again; they stay
	Dropped   int `json:"dropped"`
	// Unknown are keys of which there is no dead letter.
	Unknown []string `json:"unknown,omitempty"`
}

// Retry delivers the dead letters with these keys again, or all if there are no keys,
// each in a request of its own and without regard to the breaker. It stops with an
// error when the service does not answer; what was not delivered stays.
func (o *Outbox) Retry(ctx context.Context, keys ...string) (Replayed, error) {
	return o.each(keys, func(done *Replayed, k string) error { return o.retry(ctx, done, k) })
}

// Drop forgets the dead letters with these keys, or all if there are no keys: their
// events are never delivered.
func (o *Outbox) Drop(keys ...string) (Replayed, error) {
	return o.each(keys, func(done *Replayed, k string) error {
		known, err := o.letters.remove(k)
		if !known && err == nil {
			return fs.ErrNotExist
		}
		if known {
			done.Dropped++
		}
		return err
	})
}

func (o *Outbox) each(keys []string, do func(done *Replayed, key string) error) (Replayed, error) {
	o.replay.Lock()
	defer o.replay.Unlock()
	defer o.unstall()
	if len(keys) == 0 {
		for _, one := range o.letters.list() {
			keys = append(keys, one.Key)
		}
	}
	var done Replayed
	for _, k := range keys {
		switch err := do(&done, k); {
		case errors.Is(err, fs.ErrNotExist):
			done.Unknown = append(done.Unknown, k)
		case err != nil:
			return done, err
		}
	}
	return done, nil
}

func (o *Outbox) retry(ctx context.Context, done *Replayed, k string) error {
	one, err := o.letters.get(k)
	if err != nil {
		return err
	}
	begun := time.Now()
	an, err := o.cfg.Service.deliver(ctx, k, one.Request)
	o.cfg.OnRequest(time.Since(begun), an.status, err)
	if err != nil {
		return fmt.Errorf("the Annotations service cannot be reached: %w", err)
	}
	r, is := an.events[k]
	if an.meaning != stored {
		r, is = result{Key: k, Status: an.status, Error: an.reason}, true
	}
	switch {
	case !is:
		o.sent.Add(1)
		done.Delivered++
		_, err = o.letters.remove(k)
		return err
	case meaningOf(r.Status) == later:
		return fmt.Errorf("the Annotations service does not take events: %s", r.Error)
	}
	done.Refused++
	one.Status, one.Reason, one.At = r.Status, r.Error, time.Now().UTC()
	return o.letters.put(one)
}

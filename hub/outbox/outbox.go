// Package outbox delivers detections to the Annotations service, at least once and in
// order per session, whatever becomes of the service meanwhile.
//
// Every session has one durable cursor at its [Source]: the events up to it are
// delivered or parked. A pool of senders takes the sessions in turn, one request at a
// time for each, so that within a session order holds and between sessions nobody
// waits for a greedy one. What the service stores it stores under a key per event,
// which never changes, so that a delivery that is repeated (after a lost answer, a
// crash, a restart) is stored once.
//
// A service that is down makes senders wait at a circuit breaker; one that refuses an
// event for what it holds has it parked as a dead letter, and the rest goes on.
// docs/annotations.md is the contract.
package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"detections/session/wire"
)

// Config is what an Outbox is made of. Zero values take the defaults.
type Config struct {
	// Service is where events go. It is not closed.
	Service *Annotations
	// Source has the events.
	Source Source
	// Dir is a folder for dead letters, which is made if it is not there. One Outbox
	// at a time may use it.
	Dir string
	// Results says which events are delivered: wire.NonEmpty (the default) those of
	// frames with something in them and the end, wire.All every one.
	Results wire.Results
	// Pictures says which events have a picture of their frame.
	Pictures PictureRule
	// Camera takes the pictures that Pictures wants; nil: there are none.
	Camera Camera
	// Senders is how many requests may be under way at once; default 4.
	Senders int
	// Batch and Bytes are the most events and bytes of events in one request, but one
	// event always fits; defaults 100 and 1 MiB.
	Batch, Bytes int
	// Backoff is how long a session waits after a failure, and how long the breaker
	// stays open; default 0.5 s to 60 s.
	Backoff Backoff
	// BreakAfter is how many failures in a row open the breaker; default 5.
	BreakAfter int
	// BelieveAfter is how many times in a row a session's request must be answered 403,
	// 404, 405 or 409 until that is taken for a refusal of its events, and not for
	// something on the way to the service; default 8.
	BelieveAfter int
	// Letters is the most dead letters that are kept; a session that would add one more
	// waits until some are retried or dropped. Default 1000.
	Letters int
	// OnRequest is told of every request that was made; it must not block. err is nil
	// if there was an answer, whatever its status.
	OnRequest func(took time.Duration, status int, err error)
	Logger    *slog.Logger
}

// Outbox delivers. All methods may be called from any goroutine.
type Outbox struct {
	// Static after construction.
	cfg     Config
	log     *slog.Logger
	letters *letters
	breaker *breaker
	replay  sync.Mutex // one Retry or Drop at a time

	sent, retried, parked, unpictured atomic.Uint64

	mu       sync.Mutex
	work     sync.Cond // ready has something, or idle, or closed
	sessions map[string]*session
	ready    []*session // in the order of their turns
	closed   bool
	lastErr  string
	lastAt   time.Time
}

// New makes an Outbox; Run makes it deliver. It fails if Dir cannot be used or a dead
// letter in it cannot be read.
func New(c Config) (*Outbox, error) {
	if c.Service == nil || c.Source == nil || c.Dir == "" {
		return nil, errors.New("outbox: a service, a source and a folder are needed")
	}
	c.Results = cmp.Or(c.Results, wire.NonEmpty)
	c.Senders = cmp.Or(c.Senders, 4)
	c.Batch = cmp.Or(c.Batch, 100)
	c.Bytes = cmp.Or(c.Bytes, 1<<20)
	c.Backoff.Min = cmp.Or(c.Backoff.Min, 500*time.Millisecond)
	c.Backoff.Max = max(c.Backoff.Min, cmp.Or(c.Backoff.Max, time.Minute))
	c.BreakAfter = cmp.Or(c.BreakAfter, 5)
	c.BelieveAfter = cmp.Or(c.BelieveAfter, 8)
	c.Letters = cmp.Or(c.Letters, 1000)
	if c.OnRequest == nil {
		c.OnRequest = func(time.Duration, int, error) {}
	}
	l, err := openLetters(c.Dir, c.Letters)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	o := &Outbox{
		cfg: c, log: c.Logger, letters: l, sessions: map[string]*session{},
		breaker: newBreaker(c.BreakAfter, c.Backoff),
	}
	o.work.L = &o.mu
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Run delivers until ctx ends, beginning with what was left over by an earlier
// process. Requests that are then under way are given up; what they held is delivered
// again by the next process. It must be called once.
func (o *Outbox) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, o.close)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for range o.cfg.Senders {
		all.Go(func() { o.send(ctx) })
	}
	for n := 1; ; n++ {
		left, err := o.cfg.Source.Undelivered(ctx)
		if err == nil {
			o.takeUp(left)
			return
		}
		o.failed("", fmt.Errorf("list sessions: %w", err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(o.cfg.Backoff.delay(n)):
		}
	}
}

func (o *Outbox) takeUp(left []Session) {
	for _, s := range left {
		o.wake(s.ID, s.Offset, &s)
	}
	if len(left) > 0 {
		o.log.Info("outbox goes on", "sessions", len(left))
	}
}

// close ends the senders' waits and everything that would wake them.
func (o *Outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, s := range o.sessions {
		s.stopTimer()
	}
	o.work.Broadcast()
}

// send is one sender.
func (o *Outbox) send(ctx context.Context) {
	for {
		s := o.next()
		if s == nil {
			return
		}
		o.over(s, o.turn(ctx, s))
	}
}

// failed remembers what went wrong last, for State, and logs it.
func (o *Outbox) failed(session string, err error) {
	o.log.Warn("delivery failed", "session", session, "err", err)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lastErr, o.lastAt = err.Error(), time.Now()
}

// Flush waits until everything is delivered that was there when it last looked, or
// parked, and returns early with the cause when ctx ends.
func (o *Outbox) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.work.Broadcast()
	})
	defer stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for ctx.Err() == nil {
		if sessions, _, _, _ := o.backlog(); sessions == 0 {
			return nil
		}
		if o.closed {
			return errors.New("outbox: stopped before everything was delivered")
		}
		o.work.Wait()
	}
	return context.Cause(ctx)
}

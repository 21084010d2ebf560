// Package hub knows every session: it admits them, lets connections attach,
// shares the engines among them, accounts for every frame and drains.
//
// A session belongs to the hub from Start until its retention is over; connections
// only attach to it. All doors come through here and nobody else starts sessions.
package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"detections/hub/timeline"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// Config is what a hub is made of. Zero limits take the defaults below.
type Config struct {
	// Dir is the data directory; one process at a time may have it.
	Dir      string
	Timeline *timeline.Log // owned by the hub
	Decoders session.Decoders
	AI       *AI
	Limits   Limits
	// OnResult is told of every result of every session; nil: nobody is.
	OnResult func(wire.Timing)
	Logger   *slog.Logger
}

// Limits bound what clients can use.
type Limits struct {
	Sessions  int           // running at once
	Pictures  int           // worked on at once
	Bytes     int64         // of one session's media
	Picture   int64         // bytes of one picture
	Window    int64         // bytes beyond the last ack
	Message   int64         // bytes of one binary WebSocket message
	Linger    time.Duration // how long a session waits for its feeder to come back
	Retention time.Duration // how long an ended session's results are kept
	Kept      int           // ended sessions kept at most
}

// DefaultLimits are in force where nothing else is configured.
var DefaultLimits = Limits{
	Sessions: 64, Pictures: 16, Bytes: 8 << 30, Picture: 32 << 20, Window: 8 << 20, Message: 1 << 20,
	Linger: 10 * time.Minute, Retention: time.Hour, Kept: 1000,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		Sessions: cmp.Or(l.Sessions, d.Sessions), Pictures: cmp.Or(l.Pictures, d.Pictures), Bytes: cmp.Or(l.Bytes, d.Bytes), Picture: cmp.Or(l.Picture, d.Picture),
		Window: cmp.Or(l.Window, d.Window), Message: cmp.Or(l.Message, d.Message), Linger: cmp.Or(l.Linger, d.Linger),
		Retention: cmp.Or(l.Retention, d.Retention), Kept: cmp.Or(l.Kept, d.Kept),
	}
}

// Hub holds all sessions.
type Hub struct {
	// Static after construction.
	cfg      Config
	limits   Limits
	log      *slog.Logger
	lock     *os.File
	quit     chan struct{}
	draining chan struct{} // closed when the hub begins to drain
	work     sync.WaitGroup
	tails    tails

	// Guarded by mu.
	mu       sync.Mutex
	sessions map[string]*entry
	keys     map[string]string // principal and idempotency key → session
	ended    []*entry          // oldest first
	totals   totals
	pictures int // being worked on
}

// entry is a session as the hub knows it.
type entry struct {
	*session.Session
	epoch   string
	token   string
	key     string
	endedAt time.Time
	over    chan struct{} // closed when it has ended and its media is gone
}

// New takes the data directory and starts the hub.
func New(c Config) (*Hub, error) {
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		cfg: c, limits: c.Limits.withDefaults(), log: c.Logger, lock: lock,
		quit: make(chan struct{}), draining: make(chan struct{}),
		sessions: map[string]*entry{}, keys: map[string]string{}, totals: newTotals(),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	// What lies in the spool belongs to sessions of an earlier process, of which
	// the timeline knows nothing any more.
	if err := os.RemoveAll(h.spoolDir()); err != nil {
		return nil, errors.Join(fmt.Errorf("clean the spool: %w", err), lock.Close())
	}
	h.work.Go(h.run)
	return h, nil
}

func (h *Hub) spoolDir() string { return filepath.Join(h.cfg.Dir, "spool") }

// Limits are those in force.
func (h *Hub) Limits() Limits { return h.limits }

// AI is the state of the engines.
func (h *Hub) AI() *AI { return h.cfg.AI }

// Start begins a session, or attaches to the one that the same principal began
// with the same key. The caller is its feeder.
func (h *Hub) Start(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.sessions[h.keys[keyOf(principal, m.Key)]]; e != nil && m.Key != "" {
		return h.attach(ctx, e, 0, m.Results, true)
	}
	if err := h.admit(); err != nil {
		return nil, err
	}
	e, err := h.create(ctx, principal, m)
	if err != nil {
		return nil, err
	}
	a, err := h.attach(ctx, e, 0, m.Results, true)
	if err != nil {
		e.Abort(wire.Errorf(wire.Internal, "nobody could attach to the session")) // it would wait for ever
	}
	return a, err
}

func keyOf(principal, key string) string { return principal + "\x00" + key }

// admit says whether another session may run. h.mu is held.
func (h *Hub) admit() error {
	switch {
	case h.IsDraining():
		return wire.Errorf(wire.Draining, "the hub is shutting down and takes no new sessions; try again in a moment")
	case h.runningLocked() >= h.limits.Sessions:
		return wire.Errorf(wire.Overloaded, "the limit of running sessions, %d, is reached; try again when one has ended", h.limits.Sessions)
	}
	return nil
}

// create makes a session and runs it. h.mu is held.
func (h *Hub) create(ctx context.Context, principal string, m wire.Start) (*entry, error) {
	e := &entry{epoch: rand.Text()[:8], token: rand.Text(), over: make(chan struct{})}
	if m.Key != "" {
		e.key = keyOf(principal, m.Key)
	}
	id := rand.Text()
	start, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	meta := timeline.Meta{ID: id, Principal: principal, Epoch: e.epoch, Created: time.Now(), Start: start}
	if err := h.cfg.Timeline.Store().Create(ctx, meta); err != nil {
		return nil, fmt.Errorf("create timeline: %w", err)
	}
	writer, _, err := h.cfg.Timeline.Acquire(ctx, id)
	if err != nil {
		_ = h.cfg.Timeline.Delete(ctx, id)
		return nil, fmt.Errorf("own timeline: %w", err)
	}
	sp, err := spool.Create(filepath.Join(h.spoolDir(), id+".media"))
	if err != nil {
		writer.Close()
		_ = h.cfg.Timeline.Delete(ctx, id)
		return nil, storageError(err)
	}
	e.Session = session.New(session.Config{
		ID: id, Principal: principal, Start: m, Inference: h.cfg.AI, Decoders: h.cfg.Decoders,
		Journal: &journal{Writer: writer, hub: h, session: id, principal: principal}, Spool: sp,
		MaxBytes: h.limits.Bytes, Linger: h.limits.Linger, OnResult: h.cfg.OnResult,
		Logger: h.log.With("session", id),
	})
	h.sessions[id] = e
	if e.key != "" {
		h.keys[e.key] = id
	}
	h.work.Go(func() {
		defer writer.Close()
		h.live(e, sp)
	})
	return e, nil
}

func storageError(err error) error {
	if errors.Is(err, spool.ErrFull) {
		return wire.Errorf(wire.StorageFull, "the hub's disk is full; try again later")
	}
	return err
}

// live runs a session to its end, in a goroutine of its own.
func (h *Hub) live(e *entry, sp *spool.Spool) {
	err := e.Run()
	if err := errors.Join(sp.Close(), sp.Remove()); err != nil {
		h.log.Warn("the media was not removed", "session", e.ID(), "err", err)
	}
	st := e.Status()
	h.log.Info("session ended", "session", e.ID(), "principal", e.Principal(), "bytes", st.Received, "events", st.Offset,
		"outcome", st.End.Outcome, "code", st.End.Code, "inferred", st.Accounting.Inferred, "skipped", st.Accounting.Skipped, "dur", time.Since(st.Created).Round(time.Millisecond), "err", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.totals.add(st.Accounting)
	e.endedAt = time.Now()
	h.ended = append(h.ended, e)
	h.prune(e.endedAt)
	close(e.over)
}

// Resume comes back as a session's feeder.
func (h *Hub) Resume(ctx context.Context, principal string, m wire.Resume) (*session.Attachment, error) {
	e, err := h.find(principal, m.Session)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(m.Token), []byte(e.token)) != 1 {
		return nil, wire.Errorf(wire.Forbidden, "resume: wrong token for session %.40q; it came with started", m.Session)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	after, err := h.position(ctx, e, m.Epoch, m.Offset)
	if err != nil {
		return nil, err
	}
	return h.attach(ctx, e, after, m.Results, true)
}

// Watch attaches as a reader.
func (h *Hub) Watch(ctx context.Context, principal string, m wire.Watch) (*session.Attachment, error) {
	e, err := h.find(principal, m.Session)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	after, err := h.position(ctx, e, cmp.Or(m.Epoch, e.epoch), m.Offset)
	if err != nil {
		return nil, err
	}
	return h.attach(ctx, e, after, m.Results, false)
}

// position is from where a reader goes on, or −1 if what it knows is void. The
// timeline is asked: its readers know an event before the session does.
func (h *Hub) position(ctx context.Context, e *entry, epoch string, offset uint64) (int64, error) {
	st, err := h.cfg.Timeline.Store().Status(ctx, e.ID())
	switch {
	case errors.Is(err, timeline.ErrUnknown): // deleted since it was found
		return 0, h.unknown(e.ID())
	case err != nil:
		return 0, fmt.Errorf("look at timeline: %w", err)
	case epoch != e.epoch || offset > st.Offset:
		return -1, nil
	}
	return int64(offset), nil
}

// attach makes the caller's Attachment, after an event or, if what the caller
// knew is void (−1), from the beginning. h.mu is held.
func (h *Hub) attach(ctx context.Context, e *entry, after int64, results wire.Results, feed bool) (*session.Attachment, error) {
	from := uint64(max(0, after))
	reader, err := h.cfg.Timeline.Follow(ctx, e.ID(), from)
	if err != nil {
		return nil, fmt.Errorf("follow timeline: %w", err)
	}
	a := &session.Attachment{Session: e.Session, Reader: reader, Results: cmp.Or(results, wire.All)}
	a.Started = wire.Started{
		Type: wire.TypeStarted, Session: e.ID(), Epoch: e.epoch, Offset: from, Recovered: after >= 0,
		Limits: &wire.StartedLimits{Window: h.limits.Window, Message: h.limits.Message, Bytes: h.limits.Bytes},
	}
	if m := h.cfg.AI.Model(); m != nil {
		a.Started.Model = &wire.StartedModel{ModelRef: wire.ModelRef{Name: m.Name, Version: m.Version}, Labels: m.Labels}
	}
	if feed {
		a.Feeder, a.Started.Bytes = e.Attach()
		a.Started.Token = e.token
	} else {
		a.Started.Bytes = e.Status().Received
	}
	return a, nil
}

// find gives a session that the principal may see.
func (h *Hub) find(principal, id string) (*entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.sessions[id]; e != nil && e.Principal() == principal {
		return e, nil
	}
	return nil, h.unknown(id)
}

func (h *Hub) unknown(id string) error {
	return wire.Errorf(wire.UnknownSession, "there is no session %.40q; it may have been deleted after its retention of %v", id, h.limits.Retention)
}

// run forgets what is past its retention.
func (h *Hub) run() {
	tick := time.NewTicker(max(time.Second, h.limits.Retention/60))
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			h.mu.Lock()
			h.prune(now)
			h.mu.Unlock()
		case <-h.quit:
			return
		}
	}
}

// prune deletes ended sessions that are too old or too many. h.mu is held.
func (h *Hub) prune(now time.Time) {
	for len(h.ended) > 0 {
		e := h.ended[0]
		if len(h.ended) <= h.limits.Kept && now.Sub(e.endedAt) < h.limits.Retention {
			return
		}
		h.forget(e)
	}
}

// forget deletes an ended session. h.mu is held.
func (h *Hub) forget(e *entry) {
	h.ended = slices.DeleteFunc(h.ended, func(o *entry) bool { return o == e })
	delete(h.sessions, e.ID())
	if h.keys[e.key] == e.ID() {
		delete(h.keys, e.key)
	}
	if err := h.cfg.Timeline.Delete(context.Background(), e.ID()); err != nil {
		h.log.Warn("the timeline was not deleted", "session", e.ID(), "err", err)
	}
}

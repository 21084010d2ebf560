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
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"detections/hub/outbox"
	"detections/hub/timeline"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// Config is what a hub is made of. Zero limits take the defaults below.
type Config struct {
	// Dir is the data directory; one process at a time may have it.
	Dir string
	// Wait is how long the data directory is waited for while another process has it.
	Wait time.Duration
	// Store opens the timelines' store in a folder of the data directory, once that is
	// ours. nil: they are kept in memory and end with the process.
	Store func(dir string) (timeline.Store, error)
	// Outbox says how results are delivered to an Annotations service, and media fetched
	// from it; the hub sets Source and Dir. nil: there is none.
	Outbox   *outbox.Config
	Decoders session.Decoders
	AI       *AI
	Limits   Limits
	// OnResult is told of every result of every session; nil: nobody is.
	OnResult func(wire.Timing)
	// OnAppend is told how long each event took into the store; nil: nobody is.
	OnAppend func(time.Duration)
	// Clock tells the time for later processes; nil: the machine's.
	Clock  func() session.Moment
	Logger *slog.Logger
}

// Hub holds all sessions.
type Hub struct {
	// Static after construction.
	cfg      Config
	limits   Limits
	log      *slog.Logger
	lock     *os.File
	timeline *timeline.Log
	outbox   *outbox.Outbox // nil: there is no Annotations service
	camera   *camera        // nil: results are delivered without pictures
	disk     disk
	files    line
	storage  *storage
	quit     chan struct{} // closed by Close
	draining atomic.Bool
	stopping chan struct{} // closed by Drain
	stopOnce sync.Once
	// closeOnce is close, once.
	closeOnce  func() error
	stopOutbox func()
	work       sync.WaitGroup
	tails      tails
	starts     singleflight.Group // by principal and idempotency key

	// Guarded by mu.
	mu       sync.Mutex
	sessions map[string]*entry
	keys     map[string]string // principal and idempotency key → session
	known    map[string]string // what determines results → session that has them
	claims   map[string]bool   // principal and media id: a session on it is being started
	ended    []*entry          // oldest first
	totals   totals
	endings  map[Ended]int64
	paces    map[string]*session.Pace // by principal
	pictures int                      // being worked on
	starting []place                  // of sessions being created
}

// entry is a session as the hub knows it.
type entry struct {
	*session.Session
	epoch string
	token string
	key   string
	over  chan struct{} // closed when it has ended and its media is gone, or it is suspended
	// recalled is what earlier processes have counted of it.
	recalled wire.Accounting

	// Guarded by Hub.mu.
	endedAt   time.Time // zero: it runs
	known     string    // its key in Hub.known
	bytes     int64     // of its timeline, once it has ended
	media     int64     // bytes of media that are kept for pictures, once it has ended
	last      uint64    // offset of its end event, once it has ended
	delivered uint64    // offset up to which its events were delivered or given up
}

// New takes the data directory and starts the hub; sessions of an earlier process
// that had not ended go on.
func New(c Config) (*Hub, error) {
	if err := c.Limits.valid(); err != nil {
		return nil, err
	}
	lock, err := lockDir(c.Dir, c.Wait)
	if err != nil {
		return nil, err
	}
	h := &Hub{
		cfg: c, limits: c.Limits.withDefaults(), log: c.Logger, lock: lock,
		quit: make(chan struct{}), stopping: make(chan struct{}),
		sessions: map[string]*entry{}, keys: map[string]string{}, known: map[string]string{}, claims: map[string]bool{}, totals: newTotals(), endings: newEnded(), paces: map[string]*session.Pace{},
		stopOutbox: func() {},
	}
	h.files = newLine(h.limits.Files)
	h.closeOnce = sync.OnceValue(h.close)
	if h.cfg.OnAppend == nil {
		h.cfg.OnAppend = func(time.Duration) {}
	}
	if h.cfg.Clock == nil {
		h.cfg.Clock = thisMoment
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.storage = newStorage(h.log)
	store, err := h.openStore()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the timelines: %w", err), lock.Close())
	}
	if h.disk, err = newDisk(c.Dir, h.limits.Disk, h.limits.Free); err != nil {
		return nil, errors.Join(err, store.Close(), lock.Close())
	}
	h.timeline = timeline.New(store)
	if err := h.openOutbox(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	if err := h.restore(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("take up sessions: %w", err), h.Close())
	}
	h.runOutbox()
	h.work.Go(h.run)
	return h, nil
}

func (h *Hub) openStore() (timeline.Store, error) {
	if h.cfg.Store == nil {
		return timeline.NewMemory(), nil
	}
	return h.cfg.Store(filepath.Join(h.cfg.Dir, "timeline"))
}

func (h *Hub) spoolDir() string { return filepath.Join(h.cfg.Dir, "spool") }

// Limits are those in force.
func (h *Hub) Limits() Limits { return h.limits }

// AI is the state of the engines.
func (h *Hub) AI() *AI { return h.cfg.AI }

// Start begins a session, or attaches to the one that the same principal began
// with the same key, or to one that has the results already. The caller is its feeder.
func (h *Hub) Start(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error) {
	if e := h.knows(ctx, principal, m); e != nil {
		a, err := h.attach(ctx, e, 0, m.Results, true)
		if err == nil {
			a.Started.Known = true
		}
		return a, err
	}
	e, err := h.begin(ctx, principal, origin{Start: m})
	if err != nil {
		return nil, err
	}
	a, err := h.attach(ctx, e, 0, m.Results, true)
	if err != nil {
		e.Abort(wire.Errorf(wire.Internal, "nobody could attach to the session")) // it would wait for ever
	}
	return a, err
}

// begin gives the session of a key, a new one if there is none yet.
func (h *Hub) begin(ctx context.Context, principal string, o origin) (*entry, error) {
	if o.Start.Key == "" {
		return h.create(ctx, principal, o)
	}
	o.Key = keyOf(principal, o.Start.Key)
	e, err, _ := h.starts.Do(o.Key, func() (any, error) {
		if e := h.ofKey(principal, o.Start.Key); e != nil {
			return e, nil
		}
		return h.create(ctx, principal, o)
	})
	if e, ok := e.(*entry); ok && err == nil {
		err = sameMedia(e.Asked().Media, o.Start.Media)
	}
	if err != nil {
		return nil, err
	}
	return e.(*entry), nil //nolint:forcetypeassert // it is what the function above returns
}

// sameMedia says whether a start can be about the media that its key belongs to, as far
// as both say anything of it.
func sameMedia(before, now wire.Media) error {
	differ := ""
	switch {
	case before.SHA256 != "" && now.SHA256 != "" && !strings.EqualFold(before.SHA256, now.SHA256):
		differ = "sha256"
	case before.Size > 0 && now.Size > 0 && before.Size != now.Size:
		differ = "size"
	case before.ID != "" && now.ID != "" && before.ID != now.ID:
		differ = "id"
	default:
		return nil
	}
	return wire.Errorf(wire.Conflict, "start: the key belongs to a session on other media, of another %s; use another key", differ)
}

func keyOf(principal, key string) string { return principal + "\x00" + key }

// ofKey is the session that was started with a key, or nil.
func (h *Hub) ofKey(principal, key string) *entry {
	if key == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.sessions[h.keys[keyOf(principal, key)]]; e != nil && e.Principal() == principal {
		return e
	}
	return nil
}

// admit says whether another session may run, and reserves its place.
func (h *Hub) admit(principal string, m wire.Start) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case principal == "" || principal == Everyone:
		return fmt.Errorf("a session for nobody in particular: %q", principal)
	case h.isStopping():
		return wire.Errorf(wire.Draining, "the hub is shutting down and takes no new sessions; try again in a moment")
	case h.runningLocked()+len(h.starting) >= h.limits.Sessions:
		return wire.Errorf(wire.Overloaded, "the limit of running sessions, %d, is reached; try again when one has ended", h.limits.Sessions)
	}
	if err := h.spareLocked(principal, m); err != nil {
		return err
	}
	h.starting = append(h.starting, placeOf(principal, m))
	return nil
}

// create makes a session and runs it.
func (h *Hub) create(ctx context.Context, principal string, o origin) (*entry, error) {
	if err := h.room(); err != nil {
		return nil, err
	}
	if err := h.admit(principal, o.Start); err != nil {
		return nil, err
	}
	e, err := h.record(ctx, principal, o)
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.starting, placeOf(principal, o.Start))
	h.starting = slices.Delete(h.starting, i, i+1)
	if err != nil {
		return nil, err
	}
	h.sessions[e.ID()] = e.entry
	if e.key != "" {
		h.keys[e.key] = e.ID()
	}
	h.work.Go(e.live)
	if h.isStopping() { // since it was admitted: nobody else suspends it
		e.Suspend()
	}
	return e.entry, nil
}

// record makes a session's timeline and spool.
func (h *Hub) record(ctx context.Context, principal string, o origin) (*owned, error) {
	id := rand.Text()
	o.Token = rand.Text()
	meta := timeline.Meta{ID: id, Principal: principal, Epoch: rand.Text()[:8], Created: h.cfg.Clock().Wall, Start: o.encode()}
	if err := h.timeline.Store().Create(ctx, meta); err != nil {
		return nil, storeError("create timeline", err)
	}
	sp, err := spool.Create(h.spoolPath(id))
	if err != nil {
		return nil, errors.Join(storageError(err), h.timeline.Delete(ctx, id))
	}
	e, err := h.own(ctx, meta, o, sp, nil)
	if err != nil {
		return nil, errors.Join(err, sp.Close(), sp.Remove(), h.timeline.Delete(ctx, id))
	}
	return e, nil
}

// storeError is an error of the timelines' store in words for a client.
func storeError(doing string, err error) error {
	switch {
	case errors.Is(err, timeline.ErrClosed):
		return wire.Errorf(wire.Draining, "the hub is shutting down; come back in a moment")
	case errors.Is(err, timeline.ErrFull):
		return wire.Errorf(wire.StorageFull, "the hub's disk is full; try again later")
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func storageError(err error) error {
	if errors.Is(err, spool.ErrFull) {
		return wire.Errorf(wire.StorageFull, "the hub's disk is full; try again later")
	}
	return err
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
	if err := e.CheckOverlap(m.Overlap); err != nil {
		return nil, err
	}
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
	after, err := h.position(ctx, e, m.Epoch, m.Offset)
	if err != nil {
		return nil, err
	}
	return h.attach(ctx, e, after, m.Results, false)
}

// position is from where a reader goes on, or −1 if what it knows is void. The
// timeline is asked: its readers know an event before the session does. Who names no epoch
// means this one.
func (h *Hub) position(ctx context.Context, e *entry, epoch string, offset uint64) (int64, error) {
	st, err := h.timeline.Store().Status(ctx, e.ID())
	switch {
	case errors.Is(err, timeline.ErrUnknown): // deleted since it was found
		return 0, h.unknown(e.ID())
	case err != nil:
		return 0, storeError("look at timeline", err)
	case epoch != "" && epoch != e.epoch, offset > st.Offset:
		return -1, nil
	}
	return int64(offset), nil
}

// attach makes the caller's Attachment, after an event or, if what the caller
// knew is void (−1), from the beginning.
func (h *Hub) attach(ctx context.Context, e *entry, after int64, results wire.Results, feed bool) (*session.Attachment, error) {
	from := uint64(max(0, after))
	reader, err := h.timeline.Follow(ctx, e.ID(), from)
	switch {
	case errors.Is(err, timeline.ErrUnknown): // deleted since it was found
		return nil, h.unknown(e.ID())
	case err != nil:
		return nil, storeError("follow timeline", err)
	}
	a := &session.Attachment{Session: e.Session, Reader: reader, Results: cmp.Or(results, wire.All)}
	a.Started = wire.Started{
		Type: wire.TypeStarted, Session: e.ID(), Epoch: e.epoch, Offset: from, Recovered: after >= 0,
		Limits: &wire.StartedLimits{Window: h.limits.Window, Message: h.limits.Message, Bytes: h.limits.Bytes},
	}
	if m := cmp.Or(e.Status().Model, h.cfg.AI.Model()); m != nil {
		a.Started.Model = &wire.StartedModel{ModelRef: wire.ModelRef{Name: m.Name, Version: m.Version}, Labels: m.Labels}
	}
	if feed {
		a.Feeder, a.Started.Bytes = e.Attach()
		a.Started.Token, a.Started.SHA256 = e.token, a.Feeder.SHA256()
	} else {
		a.Started.Bytes = e.Status().Received
	}
	return a, nil
}

// Everyone stands for every principal where sessions are looked at, stopped or deleted.
// Nobody is called that, and nobody starts a session by that name.
const Everyone = "*"

// sees says whether a principal, or Everyone, sees a session of owner.
func sees(principal, owner string) bool { return principal == owner || principal == Everyone }

// find gives a session that the principal may see.
func (h *Hub) find(principal, id string) (*entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.sessions[id]; e != nil && sees(principal, e.Principal()) {
		return e, nil
	}
	return nil, h.unknown(id)
}

func (h *Hub) unknown(id string) error {
	return wire.Errorf(wire.UnknownSession, "there is no session %.40q; it may have been deleted after its retention of %v", id, h.limits.Retention)
}

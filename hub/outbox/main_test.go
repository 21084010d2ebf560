package outbox_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
	"detections/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Source in memory.
type memory struct {
	mu       sync.Mutex
	sessions map[string]*outbox.Session
	events   map[string][]wire.Event
	fail     error // what every method returns, if set
	reads    int
}

func newMemory() *memory {
	return &memory{sessions: map[string]*outbox.Session{}, events: map[string][]wire.Event{}}
}

// add appends events to a session: d is a frame with something in it, e an empty one,
// c a configuration, . the end. It returns the last offset.
func (m *memory) add(id, kinds string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil {
		s = &outbox.Session{ID: id, Principal: "local", Epoch: "e1", MediaID: "media-" + id, MediaName: id + ".mp4"}
		m.sessions[id] = s
	}
	for _, kind := range kinds {
		s.Offset++
		var e wire.Numbered
		frame := &wire.Detections{Frame: int64(s.Offset), PTS: wire.Millis(time.Duration(s.Offset) * 40 * time.Millisecond), Width: 640, Height: 360, Model: "m@1"}
		switch kind {
		case 'd':
			frame.Detections = []wire.Detection{{Label: "person", Confidence: 0.5, Box: [4]wire.Pixels{1, 2, 3, 4}}}
			e = frame
		case 'e':
			e = frame
		case 'c':
			e = &wire.Configured{}
		case '.':
			s.Ended = true
			e = &wire.End{Outcome: wire.Done, MediaSHA256: strings.Repeat("ab", 32)}
		}
		m.events[id] = append(m.events[id], e.Event(s.Offset))
	}
	return s.Offset
}

func (m *memory) delete(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, id)
	delete(m.events, id)
}

func (m *memory) failWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) Undelivered(context.Context) ([]outbox.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []outbox.Session
	for _, id := range slices.Sorted(maps.Keys(m.sessions)) {
		if s := m.sessions[id]; s.Delivered < s.Offset {
			all = append(all, *s)
		}
	}
	return all, m.fail
}

func (m *memory) Session(_ context.Context, id string) (outbox.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.sessions[id]; s != nil {
		return *s, m.fail
	}
	return outbox.Session{}, outbox.ErrUnknown
}

func (m *memory) Read(_ context.Context, id string, after uint64, limit int) ([]wire.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.sessions[id] == nil {
		return nil, outbox.ErrUnknown
	}
	all := m.events[id][min(after, uint64(len(m.events[id]))):]
	return slices.Clone(all[:min(limit, len(all))]), m.fail
}

func (m *memory) Deliver(_ context.Context, id string, offset uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sessions[id]
	if s == nil {
		return outbox.ErrUnknown
	}
	s.Delivered = max(s.Delivered, offset)
	return m.fail
}

func (m *memory) delivered(id string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[id].Delivered
}

// rig is an outbox, its source and the service, connected in memory or by sockets.
type rig struct {
	t       *testing.T
	source  *memory
	service *outboxtest.Service
	cfg     outbox.Config
	*outbox.Outbox
	cancel context.CancelFunc
	done   chan struct{}
}

// newRig connects them; start makes the outbox.
func newRig(t *testing.T, service *outboxtest.Service, c outbox.ServiceConfig) *rig {
	t.Helper()
	r := &rig{t: t, source: newMemory(), service: service}
	c.URL, c.HTTP = outboxtest.Connect(t, service)
	a, err := outbox.NewAnnotations(c)
	if err != nil {
		t.Fatal(err)
	}
	r.cfg = outbox.Config{Service: a, Source: r.source, Dir: t.TempDir()}
	t.Cleanup(func() {
		r.crash()
		for _, v := range service.Violations() {
			t.Error("violation: ", v)
		}
	})
	return r
}

// start makes an outbox, as a new process would, and runs it.
func (r *rig) start() {
	r.t.Helper()
	r.crash()
	var err error
	if r.Outbox, err = outbox.New(r.cfg); err != nil {
		r.t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(r.t.Context())
	r.done = make(chan struct{})
	go func() { defer close(r.done); r.Run(ctx) }()
}

// crash ends the outbox at once.
func (r *rig) crash() {
	if r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// add appends events and tells the outbox.
func (r *rig) add(id, kinds string) {
	offset := r.source.add(id, kinds)
	if r.Outbox != nil {
		r.Wake(id, offset)
	}
}

// flush waits for everything to be delivered, up to an hour of the test's time.
func (r *rig) flush() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		r.t.Fatalf("flush: %v; state %+v", err, r.State())
	}
}

// stored checks what the service has of a session, and that it came in order.
func (r *rig) stored(id string, want ...uint64) {
	r.t.Helper()
	var got []uint64
	for _, e := range r.service.Events(id) {
		got = append(got, e.Offset)
		if k := fmt.Sprintf("%s:e1:%d", id, e.Offset); e.Key != k {
			r.t.Errorf("event %d has key %s, want %s", e.Offset, e.Key, k)
		}
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("session %s: stored %v, want %v", id, got, want)
	}
	if order := r.service.Order(id); !slices.IsSorted(order) {
		r.t.Errorf("session %s: stored in the order %v", id, order)
	}
}

// upTo are the numbers from 1.
func upTo(n uint64) []uint64 {
	var all []uint64
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

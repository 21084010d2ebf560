package hub_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub"
	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
	"detections/hub/timeline"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// options are what a hub under test is made of. Everything has a default.
type options struct {
	limits   hub.Limits
	dir      string // empty: a new one
	store    timeline.Store
	decoders sessiontest.Config
	engine   infertest.Config
	load     hub.Load
	ai       *hub.AI             // set: used instead of load
	service  *outboxtest.Service // nil: there is no Annotations service
	pictures outbox.PictureRule
	clock    *clock
}

// rig is a hub with everything real around it except decoders and engines. It
// lives in a synctest bubble.
type rig struct {
	*hub.Hub
	t        *testing.T
	options  options
	dir      string
	store    timeline.Store
	decoders *sessiontest.Decoders
	ai       *hub.AI
	loaded   chan struct{} // closed when the loading is over
	dead     atomic.Bool   // killed: nobody hears of it any more
}

func open(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, options: o, dir: o.dir, store: o.store, decoders: &sessiontest.Decoders{Config: o.decoders}, loaded: make(chan struct{})}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	if r.store == nil {
		r.store = timeline.NewMemory()
	}
	if o.clock == nil {
		o.clock = &clock{begun: time.Now(), boot: 1}
		r.options.clock = o.clock
	}
	if o.load == nil {
		o.load = func(context.Context, func(hub.Availability, float64)) (*infer.Batcher, error) {
			return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(o.engine)}})
		}
	}
	if r.ai = o.ai; r.ai == nil {
		r.ai = hub.NewAI(o.load, nil)
	}
	r.options.ai = nil // the next one has its own
	var err error
	r.Hub, err = hub.New(hub.Config{
		Dir: r.dir, Store: func(string) (timeline.Store, error) { return r.store, nil }, Decoders: r.decoders, AI: r.ai, Limits: o.limits,
		Outbox: r.annotations(), Clock: o.clock.now,
	})
	must(t, err)
	go func() {
		defer close(r.loaded)
		if o.ai == nil {
			r.ai.Run(t.Context())
		}
	}()
	return r
}

// annotations connects the hub with the Annotations service.
func (r *rig) annotations() *outbox.Config {
	if r.options.service == nil {
		return nil
	}
	url, client := outboxtest.Connect(r.t, r.options.service)
	client.Transport = mortal{r, client.Transport}
	a, err := outbox.NewAnnotations(outbox.ServiceConfig{URL: url, HTTP: client})
	must(r.t, err)
	return &outbox.Config{Service: a, Pictures: r.options.pictures}
}

// mortal is the network of a process that may be dead: nothing leaves it then.
type mortal struct {
	rig *rig
	http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (m mortal) RoundTrip(req *http.Request) (*http.Response, error) {
	if m.rig.dead.Load() {
		return nil, errors.New("the process that asks was killed")
	}
	return m.RoundTripper.RoundTrip(req)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// close ends everything and finds what was left over.
func (r *rig) close() {
	r.t.Helper()
	err := r.Hub.Close()
	<-r.loaded
	must(r.t, errors.Join(err, r.ai.Close()))
	if r.decoders.Frames.Live() != 0 || r.decoders.Open() != 0 {
		r.t.Errorf("%d frames not released, %d decoders not closed", r.decoders.Frames.Live(), r.decoders.Open())
	}
	unfinished := 0
	for _, st := range append(r.Sessions("me"), r.Sessions("you")...) {
		if st.End == nil {
			unfinished++
		}
	}
	if files := r.spooled(); len(files) != unfinished && r.options.pictures.Off() {
		r.t.Errorf("left in the spool for %d sessions that go on: %v", unfinished, files)
	}
}

// spooled are the files in the spool.
func (r *rig) spooled() []string {
	r.t.Helper()
	files, err := filepath.Glob(filepath.Join(r.dir, "spool", "*"))
	must(r.t, err)
	return files
}

// stored is how many sessions the timeline's store knows.
func (r *rig) stored() int {
	r.t.Helper()
	all, err := r.store.List(context.Background(), false)
	must(r.t, err)
	return len(all)
}

// client is an attached connection.
type client struct {
	*session.Attachment
	t *testing.T
}

// start begins a session of the principal "me".
func (r *rig) start(m wire.Start) client {
	r.t.Helper()
	a, err := r.Start(r.t.Context(), "me", m)
	must(r.t, err)
	return client{a, r.t}
}

func (r *rig) watch(m wire.Watch) client {
	r.t.Helper()
	a, err := r.Watch(r.t.Context(), "me", m)
	must(r.t, err)
	return client{a, r.t}
}

// resume comes back to where c was, having seen so many events.
func (r *rig) resume(c client, seen uint64) client {
	r.t.Helper()
	a, err := r.Resume(r.t.Context(), "me", wire.Resume{
		Session: c.Started.Session, Token: c.Started.Token, Epoch: c.Started.Epoch, Offset: seen,
	})
	must(r.t, err)
	return client{a, r.t}
}

// run is a whole session.
func (r *rig) run(m wire.Start, video string) client {
	r.t.Helper()
	c := r.start(m)
	c.upload(video)
	<-c.Session.Done()
	return c
}

func (c client) upload(video string) {
	c.t.Helper()
	c.send(video)
	c.Feeder.EOF()
}

// send writes a part of a video. A session that has ended does not take it.
func (c client) send(video string) {
	c.t.Helper()
	if _, err := c.Feeder.Write([]byte(video)); err != nil && code(err) != wire.Conflict {
		c.t.Error(err)
	}
}

// read follows to the end event and lets go of the reader. Offsets have no gap.
func (c client) read() []wire.Event {
	c.t.Helper()
	events, err := c.follow()
	if !errors.Is(err, io.EOF) {
		c.t.Error(err)
	}
	return events
}

func (c client) follow() (all []wire.Event, err error) {
	c.t.Helper()
	defer c.Reader.Close()
	after := c.Started.Offset
	for {
		events, changed, err := c.Reader.Poll(context.Background())
		for _, e := range events {
			if after++; e.Offset != after {
				c.t.Errorf("event %d, expected %d", e.Offset, after)
			}
			e.Message = bytes.Clone(e.Message)
			all = append(all, e)
		}
		switch {
		case err != nil:
			return all, err
		case len(events) == 0:
			<-changed
		}
	}
}

// end is the last event of all.
func (c client) end(events []wire.Event) (end wire.End) {
	c.t.Helper()
	if len(events) == 0 || events[len(events)-1].Type != wire.TypeEnd {
		c.t.Fatalf("no end in %d events", len(events))
	}
	must(c.t, json.Unmarshal(events[len(events)-1].Message, &end))
	return end
}

// code is what a client is told of an error.
func code(err error) wire.Code {
	if err == nil {
		return ""
	}
	return wire.AsError(err).Code
}

func video(n int) string { return "K" + strings.Repeat("p", n-1) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// withEpoch is a client that knows another epoch.
func withEpoch(c client, epoch string) *session.Attachment {
	a := *c.Attachment
	a.Started.Epoch = epoch
	return &a
}

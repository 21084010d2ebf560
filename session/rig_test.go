package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub/timeline"
	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
	"detections/media/spool"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ms = time.Millisecond

// options are what a session under test is made of. Everything has a default.
type options struct {
	start     wire.Start
	decoders  sessiontest.Config
	engines   []infertest.Config
	solo      *infertest.Config // nil: there is none
	inference session.Inference
	append    func(wire.Event) error // before an event is appended
	commit    func(int64) error      // before bytes are committed
	onResult  func(wire.Timing)
	spool     *spool.Spool
	store     timeline.Store // with session "s" in it, from an earlier life
	past      *session.Past
	maxBytes  int64
	linger    time.Duration
	staged    bool // the engines do not look at the pictures
	pace      *session.Pace
	rates     session.Rates
	room      func() error
}

// rig is a running session with everything real around it except the decoder and
// the engines. It lives in a synctest bubble.
type rig struct {
	*session.Session
	t        *testing.T
	o        options
	decoders *sessiontest.Decoders
	batcher  *infer.Batcher
	spool    *spool.Spool
	store    timeline.Store
	feeder   *session.Feeder
	ran      chan error
}

func begin(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{
		t: t, o: o, decoders: &sessiontest.Decoders{Config: o.decoders}, spool: o.spool,
		store: o.store, ran: make(chan error, 1),
	}
	if r.store == nil {
		r.store = timeline.NewMemory()
		must(t, r.store.Create(t.Context(), timeline.Meta{ID: "s"}))
	}
	r.batcher = batcher(t, o.engines, o.solo)
	inference := o.inference
	if inference == nil {
		inference = ready{r.batcher}
	}
	if r.spool == nil {
		r.spool = memory(t)
	}
	if o.maxBytes == 0 {
		o.maxBytes = 1 << 20
	}
	if o.linger == 0 {
		o.linger = time.Minute
	}
	log := timeline.New(r.store)
	w, _, err := log.Acquire(t.Context(), "s")
	must(t, err)
	r.Session = session.New(session.Config{
		ID: "s", Principal: "p", Start: o.start, Inference: inference, Decoders: r.decoders,
		Journal: journal{w, o}, Spool: r.spool, Past: o.past, MaxBytes: o.maxBytes, Rates: o.rates, Room: o.room, Linger: o.linger, OnResult: o.onResult, Pace: o.pace,
	})
	r.feeder, _ = r.Attach()
	go func() { r.ran <- r.Run() }()
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func memory(t *testing.T) *spool.Spool {
	t.Helper()
	s, err := spool.Memory("test")
	must(t, err)
	return s
}

// batcher shares fake engines; none means one that is infinitely fast.
func batcher(t *testing.T, engines []infertest.Config, solo *infertest.Config) *infer.Batcher {
	t.Helper()
	if engines == nil {
		engines = make([]infertest.Config, 1)
	}
	var c infer.BatcherConfig
	if solo != nil {
		c.Solo = func() (infer.Engine, error) { return infertest.NewEngine(*solo), nil }
	}
	for _, e := range engines {
		c.Engines = append(c.Engines, infertest.NewEngine(e))
	}
	b, err := infer.NewBatcher(c)
	must(t, err)
	return b
}

// ready is an Inference that never waits.
type ready struct{ b *infer.Batcher }

func (r ready) Acquire(context.Context, session.Want, func(wire.AI)) (*session.Hold, error) {
	return &session.Hold{Batcher: r.b, Release: func() {}}, nil
}

// journal is a timeline that can be slow and can fail.
type journal struct {
	*timeline.Writer
	o options
}

func (j journal) Append(ctx context.Context, after uint64, e wire.Event, replay []byte) error {
	if j.o.append != nil {
		if err := j.o.append(e); err != nil {
			return err
		}
	}
	return j.Writer.Append(ctx, after, e, replay)
}

func (j journal) Commit(ctx context.Context, n int64, final bool) error {
	if j.o.commit != nil {
		if err := j.o.commit(n); err != nil {
			return err
		}
	}
	return j.Writer.Commit(ctx, n, final)
}

// send writes a video, or a part of one, as the feeder. A session that has ended
// meanwhile does not take it.
func (r *rig) send(video string) {
	r.t.Helper()
	if _, err := r.feeder.Write([]byte(video)); err != nil && wire.AsError(err).Code != wire.Conflict {
		r.t.Errorf("write of %d bytes: %v", len(video), err)
	}
}

// upload sends a whole video.
func (r *rig) upload(video string) {
	r.t.Helper()
	r.send(video)
	r.feeder.EOF()
}

// video is one of n pictures.
func video(n int) string { return "K" + strings.Repeat("p", n-1) }

// event is any event as a client reads it.
type event struct {
	Type        wire.Type
	Offset      uint64
	Frame       int64
	ID          string
	PTS         wire.Millis `json:"pts_ms"`
	Width       int
	Height      int
	Detections  []wire.Detection
	Error       *wire.Failure
	Sample      wire.Sample
	Track       bool
	Detect      wire.DetectInForce
	Engine      infer.Identity
	Outcome     wire.Outcome
	Code        wire.Code
	Message     string
	Bytes       int64
	MediaSHA256 string `json:"media_sha256"`
	Accounting  wire.Accounting
	Reason      wire.SegmentReason
	Missed      map[string]int64
}

// events are those so far.
func (r *rig) events() []event {
	r.t.Helper()
	recs, err := r.store.Read(context.Background(), "s", 0, 1<<20)
	must(r.t, err)
	events := make([]event, len(recs))
	for i, rec := range recs {
		must(r.t, json.Unmarshal(rec.Message, &events[i]))
	}
	return events
}

// results are those events that are about a frame.
func results(events []event) (frames []event) {
	for _, e := range events {
		if e.Type == wire.TypeDetections {
			frames = append(frames, e)
		}
	}
	return frames
}

func frames(events []event) (index []int64) {
	for _, e := range results(events) {
		index = append(index, e.Frame)
	}
	return index
}

// finish waits for the session's end, takes everything apart, and checks what is
// true of every session. It returns all events and the last of them.
func (r *rig) finish() ([]event, event) {
	r.t.Helper()
	must(r.t, <-r.ran)
	r.close()
	events := r.events()
	if err := wellFormed(events); err != nil && !r.o.staged {
		r.t.Error(err)
	}
	end := events[len(events)-1]
	if n := int64(len(results(events))); n != end.Accounting.Inferred+end.Accounting.Failed["engine_error"] || end.Accounting.Pending != 0 {
		r.t.Errorf("%d results, accounting %+v", n, end.Accounting)
	}
	if st := r.Status(); st.State != wire.Ended || st.Offset != end.Offset {
		r.t.Errorf("status %+v after event %d", st, end.Offset)
	}
	return events, end
}

// close takes everything apart and finds what was left over.
func (r *rig) close() {
	r.t.Helper()
	must(r.t, errors.Join(r.batcher.Close(), r.spool.Close()))
	if r.decoders.Frames.Live() != 0 || r.decoders.Open() != 0 {
		r.t.Errorf("%d frames not released, %d decoders not closed", r.decoders.Frames.Live(), r.decoders.Open())
	}
	for _, done := range []<-chan struct{}{r.Done(), r.Ready()} {
		select {
		case <-done:
		default:
			r.t.Error("it has ended, and Done or Ready does not say so")
		}
	}
	if err := balanced(r.Status().Accounting); err != nil {
		r.t.Error(err)
	}
}

// wellFormed checks what is true of every finished timeline of a session that began.
func wellFormed(events []event) error {
	frame, first := int64(-1), int64(0)
	for i, e := range events {
		switch last := i == len(events)-1; {
		case e.Offset != uint64(i+1):
			return fmt.Errorf("event %d has offset %d", i+1, e.Offset)
		case last != (e.Type == wire.TypeEnd):
			return fmt.Errorf("event %d of %d is %s", i+1, len(events), e.Type)
		case i == 0 && !last && e.Type != wire.TypeConfigured:
			return fmt.Errorf("the first event is %s", e.Type)
		}
		switch e.Type {
		case wire.TypeDetections:
			if e.Frame <= frame {
				return fmt.Errorf("frame %d after %d", e.Frame, frame)
			}
			frame = e.Frame
			if err := belongs(e, first); err != nil {
				return err
			}
		case wire.TypeConfigured:
			if e.Frame <= frame {
				return fmt.Errorf("configured from frame %d, after frame %d", e.Frame, frame)
			}
		case wire.TypeSegment:
			if e.Frame <= frame || e.Missed["not_recorded"] < 0 {
				return fmt.Errorf("segment %+v after frame %d", e, frame)
			}
			first = e.Frame
		case wire.TypeEnd:
			if err := balanced(e.Accounting); err != nil {
				return err
			}
		}
	}
	return nil
}

// belongs checks that a result was made of its own frame's pixels. A filter may
// have left nothing of it. First is the first frame of its segment.
func belongs(e event, first int64) error {
	if e.PTS != wire.Millis(time.Duration(e.Frame-first)*40*ms) || e.Width != 2*infertest.Side || e.Height != 2*infertest.Side {
		return fmt.Errorf("frame %d: %+v", e.Frame, e)
	}
	if e.Error != nil || len(e.Detections) == 0 {
		return nil
	}
	var r infer.Result
	for _, d := range e.Detections {
		if d.Label != infertest.Labels[d.Class] {
			return fmt.Errorf("frame %d: class %d is called %q", e.Frame, d.Class, d.Label)
		}
		r.Detections = append(r.Detections, infer.Detection{
			Class: d.Class, Confidence: float32(d.Confidence),
			Box: infer.Box{X: float32(d.Box[0]), Y: float32(d.Box[1]), W: float32(d.Box[2]), H: float32(d.Box[3])},
		})
	}
	return infertest.Check(media.FrameInfo{Index: e.Frame - first}, &r)
}

// balanced checks that every frame is accounted for.
func balanced(a wire.Accounting) error {
	sum := a.Inferred + a.Skipped + a.Pending
	for _, n := range a.Dropped {
		sum += n
	}
	for _, n := range a.Failed {
		sum += n
	}
	if a.Decoded != sum || min(a.Decoded, a.Inferred, a.Skipped, a.Pending) < 0 {
		return fmt.Errorf("decoded %d, and accounted for %d: %+v", a.Decoded, sum, a)
	}
	return nil
}

// other is another session's one frame.
type other struct{ frame *media.Frame }

func (o *other) Take() (r infer.Request, more, ok bool) {
	return infer.Request{Frame: o.frame}, false, true
}

func (o *other) Done(media.FrameInfo, *infer.Result) {}

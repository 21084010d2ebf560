// Package session runs one detection session from first byte to last result,
// whatever connections come and go.
//
// How a session's data flows (who runs each arrow is in brackets):
//
//	door ──Feeder.Write──► spool [door] ──Grow──► Decoder (its own process)
//	Decoder ──Next──► queue + mailbox [Run] ──Take──► batch [a runner]
//	batch ──Done──► queue [a runner] ──in frame order──► Journal [emit]
//	Journal ──► every door, the outbox: nobody is told results by anyone else
//
// The queue holds what must come out in order: frames on their way through the
// batcher, and changes of configuration at the frame from which they hold. The
// mailbox holds those frames of the queue that no runner has taken: in a file as
// many as the decoder has slots, in a live session one, the newest.
//
// The one rule: a session has exactly one end event, and it is the last one.
package session

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"detections/infer"
	"detections/media"
	"detections/media/spool"
	"detections/session/wire"
)

// Decoders starts decoders; media/worker's Pool is one.
type Decoders interface {
	Start(ctx context.Context, input *os.File, job media.Job) (media.Decoder, error)
}

// Journal is the session's own timeline, as its owner.
type Journal interface {
	// Append puts an event after the event with offset after, with what a replay needs.
	Append(ctx context.Context, after uint64, e wire.Event, replay []byte) error
	// Commit records how many input bytes are durable, and whether they are all.
	Commit(ctx context.Context, bytes int64, final bool) error
}

// Reader follows a session's timeline for a door; hub/timeline's Reader is one.
type Reader interface {
	// Poll returns the next events without waiting; if there are none, changed is
	// closed when there may be some. After the end event the error is io.EOF.
	Poll(ctx context.Context) (events []wire.Event, changed <-chan struct{}, err error)
	Close()
}

// Turn waits until the session may begin to decode; waiting is called once if that
// takes time. The session calls leave when it has nothing to decode any more.
type Turn func(ctx context.Context, waiting func()) (leave func(), err error)

// Config is what a session is made of.
type Config struct {
	ID        string
	Principal string
	Start     wire.Start
	Inference Inference
	Decoders  Decoders
	// Turn; nil: it is always the session's turn.
	Turn Turn
	// Pace is shared by all sessions of the principal.
	Pace    *Pace
	Journal Journal
	// Spool takes the input; whoever made it closes it after Run.
	Spool *spool.Spool
	// Past is where the session was in an earlier life; nil: this is its first.
	Past *Past
	// Created is when the session began its first life; zero: now.
	Created time.Time
	// Clock tells the time for later processes; nil: by the wall clock alone.
	Clock func() Moment
	// MaxBytes bounds the input.
	MaxBytes int64
	// Rates bound how fast it may come.
	Rates Rates
	// Room says that no more can be taken, and why; nil: there is always room.
	Room func() error
	// Linger is how long the session waits for a feeder to come back before its input counts as cut off.
	Linger time.Duration
	// OnResult is told of every result, from the session's goroutine; nil: nobody is.
	OnResult func(wire.Timing)
	Logger   *slog.Logger
}

// Session is one client's job.
type Session struct {
	// Static after construction.
	cfg     Config
	mode    wire.Mode
	units   bool // the input is access units
	log     *slog.Logger
	created time.Time
	ctx     context.Context // cancelled to stop early
	stop    context.CancelFunc
	ready   chan struct{} // closed when the input was recognised, or the session ended
	done    chan struct{} // closed when the end event is in the journal
	input   *input

	// Guarded by mu.
	mu       sync.Mutex
	wake     sync.Cond     // the head of the queue may be ready, or drained was set
	changed  chan struct{} // closed and renewed when Status may have changed
	state    wire.StateName
	stream   *media.StreamInfo
	model    *infer.Model // nil: no engine yet
	place    *infer.Place
	ai       *wire.AI      // while an engine is waited for
	decoder  media.Decoder // nil before and after decoding
	refit    func()        // ends the decoder, which delivers what the model cannot take; nil: none decodes
	unfit    bool          // refit was called: frames of this decoder are of no use
	queue    []*entry
	mailbox  []*entry // entries of queue that no runner has taken
	spare    []*entry
	inFlight int
	decoded  bool // there will be no other decoder
	drained  bool // nothing is added to the queue any more
	count    counts
	settings settings          // of the frames that are put now
	changes  []change          // asked of the decoder, not yet in the queue
	point    point             // where the next decoder goes on, in the segment
	segment  segment           // that is decoded
	first    int64             // index of its first frame
	before   media.DecodeStats // of the segments before it
	lost     int64             // frames of an earlier life, that no event has told yet
	changeID uint32
	stopped  *wire.Error // why the session is to stop early; no code: cancelled
	// suspending: it is to stop early, and another life goes on.
	suspending bool
	left       int64  // frames that another life has again
	offset     uint64 // of the last event
	acked      int64
	reached    media.FrameInfo // the last frame put
	behind     behind          // as of then
	isReady    bool
	end        *wire.End // set when the session concludes

	lag lag // owned by decode

	// Owned by emit.
	inForce      settings
	configuredAt uint64 // offset of the configured event in force
	engine       *infer.Model
	identity     infer.Identity
	tracking     tracking

	// Owned by detect, and by follow while that runs.
	hold *Hold
}

// New makes a session; Run runs it.
func New(c Config) *Session {
	s := &Session{
		cfg: c, mode: cmp.Or(c.Start.Mode, wire.File), units: c.Start.TakesUnits(), log: c.Logger,
		ready: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		state: wire.WaitingForBytes, settings: defaults(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.OnResult == nil {
		s.cfg.OnResult = func(wire.Timing) {}
	}
	s.created = s.createdAt()
	s.wake.L = &s.mu
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.input = newInput(s)
	if s.TakesRTP() && c.Spool != nil {
		c.Spool.SyncEvery(cameraSync)
	}
	if c.Past != nil {
		s.recall(c.Past)
	}
	return s
}

// ID is the session's public name.
func (s *Session) ID() string { return s.cfg.ID }

// Principal is whose session it is.
func (s *Session) Principal() string { return s.cfg.Principal }

// Run runs the session until its end event is in the journal, or it is suspended.
// The error is a fault of the journal; everything else is in the end event.
func (s *Session) Run() error {
	defer close(s.done)
	defer s.stop()
	acks := s.input.acknowledge()
	err := s.detect()
	if err != nil && s.isSuspending() {
		err := s.input.suspend(acks)
		s.markReady()
		return err
	}
	end := s.conclude(err, acks)
	err = s.append(&end, endReplay(s.cfg.now()))
	s.setState(wire.Ended)
	s.markReady()
	return err
}

// detect decodes and infers everything; its error is why the session failed.
func (s *Session) detect() error {
	if s.cfg.Turn != nil {
		leave, err := s.cfg.Turn(s.ctx, func() {
			s.setState(wire.WaitingForCapacity)
			s.markReady()
		})
		if err != nil {
			return err
		}
		defer leave()
	}
	var err error
	if s.hold, err = s.cfg.Inference.Acquire(s.ctx, s.want(), s.waitForEngine); err != nil {
		return err
	}
	defer func() { s.hold.Release() }() // the last one
	if err := s.begin(s.hold.Batcher); err != nil {
		return err
	}
	defer s.follow()()
	emitted := make(chan error, 1)
	go func() { emitted <- s.emit() }()
	err = s.decode()
	s.drain(err != nil && s.ctx.Err() != nil)
	return cmp.Or(<-emitted, err) // if the journal failed nothing else counts
}

// begin fixes the configuration of the first frame and takes a place at the batcher.
func (s *Session) begin(b *infer.Batcher) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	past := s.cfg.Past
	goesOn := past != nil && past.configured != nil
	var set settings
	var err error
	if goesOn {
		set = past.settings(b.Model())
	} else {
		set, err = s.settings.apply(asked(s.cfg.Start), b.Model())
	}
	if err != nil {
		return err
	}
	if s.place, err = b.Join(source{s}, s.client()); err != nil {
		return err
	}
	s.model, s.engine, s.ai = b.Model(), b.Model(), nil
	if goesOn {
		// Should the engine be another one, the first result says so.
		s.settings, s.inForce, s.identity = set, set, past.configured.Engine
	} else {
		s.identity = b.Identity()
		s.enter(change{settings: set}, 0)
	}
	s.state = wire.WaitingForBytes
	s.notify()
	return nil
}

// accept takes one output of the decoder and its counters after it.
func (s *Session) accept(out media.Output, stats media.DecodeStats) {
	s.mu.Lock()
	put := out.Frame != nil
	if put && s.unfit { // the next decoder delivers it again
		s.mu.Unlock()
		out.Frame.Release()
		return
	}
	s.count.decode = s.before.Plus(stats)
	switch {
	case put:
		s.point.at = &out.Frame.Checkpoint
		s.put(out.Frame)
	case out.Rule != nil:
		s.changeHolds(*out.Rule)
	case out.Stream != nil:
		s.stream, s.state = out.Stream, wire.Running
	case out.Waiting != "":
		s.state = wire.StateName(out.Waiting)
	}
	if out.Stream != nil || out.Waiting != "" {
		s.notify()
		s.recognised()
	}
	if !put {
		s.mu.Unlock()
		return
	}
	s.goOn()
}

func (s *Session) observe(d media.DecodeStats) {
	s.mu.Lock()
	s.count.decode = s.before.Plus(d)
	s.mu.Unlock()
}

// Cancel stops the session and keeps what was found.
func (s *Session) Cancel() { s.Abort(&wire.Error{}) }

// Abort ends the session early, as failed.
func (s *Session) Abort(why *wire.Error) {
	s.mu.Lock()
	if s.stopped == nil {
		s.stopped = why
	}
	s.mu.Unlock()
	s.stop()
}

// conclude closes the input and says how the session ended.
func (s *Session) conclude(err error, acks *acks) wire.End {
	sum, complete, inputErr := s.input.close(acks)
	s.mu.Lock()
	defer s.mu.Unlock()
	end := wire.End{
		Type: wire.TypeEnd, Offset: s.offset + 1, Outcome: wire.Done,
		Bytes: s.cfg.Spool.Size(), Accounting: s.accounting(),
	}
	if complete {
		end.MediaSHA256 = sum
	}
	switch {
	case err == nil:
		err = inputErr
	case s.stopped != nil && s.stopped.Code == "":
		end.Outcome, err = wire.Cancelled, nil
	case s.stopped != nil:
		err = s.stopped
	case inputErr != nil && !complete && slices.Contains(ofMissingBytes, wire.AsError(err).Code):
		err = inputErr // no wonder that it could not be decoded
	}
	if err != nil {
		e := wire.AsError(err)
		end.Outcome, end.Code, end.Message = wire.Failed, e.Code, e.Message
		if e.Code == wire.Internal {
			s.log.Error("session failed", "err", err)
		}
	}
	s.end = new(end)
	return end
}

// ofMissingBytes is how decoding can end where an input was cut off.
var ofMissingBytes = []wire.Code{wire.DecodeFailed, wire.UploadIncomplete}

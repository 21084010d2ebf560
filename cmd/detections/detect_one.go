package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"detections/media"
	"detections/session/client"
	"detections/session/wire"
)

// maxPicture bounds the bytes of a picture that are read; the hub has a limit too.
const maxPicture = 256 << 20

// one does one input, and says how it went.
func (d *detector) one(ctx context.Context, in *input) {
	if ctx.Err() != nil {
		return
	}
	r, err := d.out.begin(in)
	if err != nil {
		d.giveUp(err)
		return
	}
	sum := newSummary(in)
	bar := d.screen.bar(in)
	err = d.look(ctx, in, r, sum, bar)
	bar.done()
	sum.finish(err)
	if err := r.finish(sum); err != nil {
		d.giveUp(err)
		return
	}
	interrupted := errors.Is(err, errInterrupted)
	d.account(in, sum, err, interrupted)
	if sum.Outcome != "" && (err == nil || interrupted) && d.format != "text" && !d.quiet {
		d.screen.note("%s", sum.line())
	}
}

// account counts an input as done or failed.
func (d *detector) account(in *input, sum *summary, err error, interrupted bool) {
	d.mu.Lock()
	broken := d.broken != nil
	if err == nil {
		d.done++
	}
	d.mu.Unlock()
	e, _ := errors.AsType[*wire.Error](err)
	switch {
	case err == nil, interrupted, broken: // that is said at the end
	case e != nil && e.Code == wire.UnknownSession && sum.Frames > 0:
		d.complain(in.name, fmt.Errorf("the hub was started anew and has forgotten this session after %d frames; the results so far are kept; run it again for all", sum.Frames))
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrNotAHub):
		if sum.Frames > 0 {
			d.screen.err("%s: the hub was lost after %d frames; the results so far are kept", in.name, sum.Frames)
		}
		d.giveUp(noHub(d.client, err))
	default:
		if _, fatal := errors.AsType[*outputError](err); fatal {
			d.giveUp(err)
			return
		}
		d.complain(in.name, err)
	}
}

// look sends the input where it belongs: a picture is one request, a video a session.
func (d *detector) look(ctx context.Context, in *input, r record, sum *summary, bar *bar) error {
	whole, err := in.open(ctx, in)
	if err != nil {
		return err
	}
	whole, kind, err := peek(whole)
	if err != nil {
		return err
	}
	if isPicture(kind.Container) && d.container == "" {
		defer whole.Close()
		return d.picture(ctx, in, whole, r, sum)
	}
	if d.saveTo != "" && (d.here == nil || in.file == "") {
		whole.Close()
		return errors.New("--save-frames: of a video the client has no pictures; give --local and a file")
	}
	found, err := d.video(ctx, in, whole, r, sum, bar)
	if d.saveTo != "" && len(found) > 0 && (err == nil || errors.Is(err, errInterrupted)) {
		return errors.Join(err, d.saveVideo(context.WithoutCancel(ctx), in, found, sum))
	}
	return err
}

func isPicture(container string) bool {
	switch container {
	case media.JPEG, media.PNG, "webp", "bmp", "gif":
		return true
	}
	return false
}

func (d *detector) picture(ctx context.Context, in *input, whole io.Reader, r record, sum *summary) error {
	text, err := io.ReadAll(io.LimitReader(whole, maxPicture))
	if err != nil {
		return err
	}
	p, err := d.client.Picture(ctx, bytes.NewReader(text), d.detectOptions.detect())
	if err != nil {
		return err
	}
	found := &wire.Detections{
		Type: wire.TypeDetections, Width: p.Width, Height: p.Height, Detections: p.Detections, Model: p.Model, Timing: p.Timing,
	}
	sum.add(found)
	sum.Outcome = wire.Done
	if len(p.Detections) > 0 || !d.nonEmpty {
		if err := r.event(found); err != nil {
			return err
		}
	}
	if d.saveTo == "" {
		return nil
	}
	return d.savePicture(in, text, found, sum)
}

// video runs a session. If pictures are wanted it returns what was found, by frame.
func (d *detector) video(ctx context.Context, in *input, whole io.ReadCloser, r record, sum *summary, bar *bar) (map[int64]*wire.Detections, error) {
	start := d.start(in)
	if d.known && in.file != "" {
		bar.say("reading, to ask whether it is known")
		var err error
		if start.Media.SHA256, err = hashOf(ctx, in.file); err != nil {
			return nil, errors.Join(err, whole.Close())
		}
	}
	s, err := d.client.Detect(ctx, whole, start)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	found := map[int64]*wire.Detections{}
	sum.video, sum.Known = true, s.Started().Known
	for e := range s.Events() {
		bar.event(e)
		var err error
		switch e := e.(type) {
		case *wire.Detections:
			sum.add(e)
			if d.saveTo != "" && len(e.Detections) > 0 {
				found[e.Frame] = e
			}
			err = r.event(e)
		case *wire.Configured:
			sum.Engine = e.Engine.Provider
			err = r.event(e)
		case *wire.Segment:
			err = r.event(e)
		case *wire.End:
			sum.end(e)
			err = r.event(e)
		case *client.Resumed:
			if e.Discard {
				*sum, found = *newSummary(in), map[int64]*wire.Detections{}
				sum.video, sum.Known = true, s.Started().Known
				err = r.discard()
			}
		}
		if err != nil {
			return found, err
		}
	}
	return found, s.Err()
}

// summary is what became of one input.
type summary struct {
	in      *input
	begun   time.Time
	Outcome wire.Outcome // empty: nothing was begun
	Error   *failure
	Frames  int64 // looked at
	Decoded int64
	Lost    int64 // units that could not be decoded
	Dropped int64
	Width   int
	Height  int
	Model   string
	Engine  string
	Took    time.Duration
	Objects map[string]*object
	Known   bool // the hub had all results already
	video   bool
	order   []string // labels, as they were first seen
	saved   int
	tracks  int64 // the largest number of an object so far
	account *wire.Accounting
}

type failure struct {
	Code    wire.Code `json:"code,omitempty"`
	Message string    `json:"message"`
}

// object sums up the objects of one kind.
type object struct {
	Count  int64
	Frames int64
	Most   int64 // in one frame
	// Followed is how many different ones there were, if they were followed.
	Followed int64
	Best     wire.Decimal
}

func newSummary(in *input) *summary {
	return &summary{in: in, begun: time.Now(), Objects: map[string]*object{}}
}

func (s *summary) add(m *wire.Detections) {
	s.Frames++
	s.Decoded = max(s.Decoded, m.Frame+1)
	s.Width, s.Height, s.Model = m.Width, m.Height, m.Model
	here, tracks := map[string]int64{}, s.tracks
	for _, det := range m.Detections {
		o := s.Objects[det.Label]
		if o == nil {
			o = &object{}
			s.Objects[det.Label] = o
			s.order = append(s.order, det.Label)
		}
		o.Count++
		o.Best = max(o.Best, det.Confidence)
		here[det.Label]++
		if det.Track > tracks { // numbers are given in rising order
			o.Followed++
			s.tracks = max(s.tracks, det.Track)
		}
	}
	for label, n := range here {
		o := s.Objects[label]
		o.Frames++
		o.Most = max(o.Most, n)
	}
}

func (s *summary) end(m *wire.End) {
	s.Outcome, s.account = m.Outcome, &m.Accounting
	s.Frames, s.Decoded = m.Accounting.Inferred, m.Accounting.Decoded
	for _, n := range m.Accounting.Undecoded {
		s.Lost += n
	}
	for _, n := range m.Accounting.Dropped {
		s.Dropped += n
	}
}

// finish adds how it ended.
func (s *summary) finish(err error) {
	s.Took = time.Since(s.begun)
	if err == nil {
		return
	}
	if s.Outcome == wire.Done || s.Outcome == "" {
		s.Outcome = wire.Failed
	}
	if errors.Is(err, errInterrupted) {
		s.Outcome = wire.Cancelled
	}
	s.Error = &failure{Message: err.Error()}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		s.Error = &failure{e.Code, e.Message}
	}
}

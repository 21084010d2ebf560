package session_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// still is what DetectPicture needs.
type still struct {
	t        *testing.T
	decoders sessiontest.Decoders
	batcher  *infer.Batcher
	config   session.PictureConfig
}

func newStill(t *testing.T, e infertest.Config) *still {
	s := &still{t: t, batcher: batcher(t, []infertest.Config{e}, nil)}
	s.config = session.PictureConfig{Inference: ready{s.batcher}, Decoders: &s.decoders}
	return s
}

// detect runs DetectPicture and checks what is true of every picture.
func (s *still) detect(ctx context.Context, picture string) (wire.Picture, wire.Accounting, error) {
	s.t.Helper()
	sp := memory(s.t)
	must(s.t, sp.Append([]byte(picture)))
	p, a, err := session.DetectPicture(ctx, s.config, sp)
	must(s.t, errors.Join(sp.Close(), s.batcher.Close()))
	if e := balanced(a); e != nil || a.Pending != 0 {
		s.t.Errorf("accounting %+v: %v", a, e)
	}
	if s.decoders.Frames.Live() != 0 || s.decoders.Open() != 0 {
		s.t.Errorf("%d frames not released, %d decoders not closed", s.decoders.Frames.Live(), s.decoders.Open())
	}
	return p, a, err
}

func TestPicture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStill(t, infertest.Config{Price: infertest.Price{Run: 20 * ms}})
		s.decoders.Cost = 5 * ms
		p, a, err := s.detect(t.Context(), "K")
		must(t, err)
		e := event{Detections: p.Detections, Width: p.Width, Height: p.Height}
		if err := belongs(e, 0); err != nil || len(p.Detections) != 1 || p.Model != infertest.Model().Ref() {
			t.Errorf("%+v: %v", p, err)
		}
		want := wire.Timing{Decode: wire.Millis(5 * ms), Infer: wire.Millis(20 * ms), Total: wire.Millis(25 * ms)}
		if p.Timing != want {
			t.Errorf("timing %+v", p.Timing)
		}
		if a.Decoded != 1 || a.Inferred != 1 {
			t.Errorf("accounting %+v", a)
		}
	})
}

func TestPictureThatHasNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		picture string
		detect  *wire.Detect
		change  func(*still)
		engine  infertest.Config
		code    wire.Code
		counted wire.Accounting
	}{
		"damaged":     {picture: "x", code: wire.DecodeFailed},
		"wrong media": {picture: "hello", code: wire.UnsupportedMedia},
		"crash":       {picture: "!", code: wire.UnsupportedMedia},
		"label":       {picture: "K", detect: &wire.Detect{Labels: []string{"unicorn"}}, code: wire.BadMessage},
		"no engine":   {picture: "K", change: func(s *still) { s.config.Inference = inference(broken) }, code: wire.EngineUnavailable},
		"no decoder":  {picture: "K", change: func(s *still) { s.decoders.Config = startErr(&media.Error{Kind: media.ErrStarting}) }, code: wire.Overloaded},
		"engine fails": {
			picture: "K", code: wire.Internal, counted: wire.Accounting{Decoded: 1},
			engine: infertest.Config{Before: func(*infertest.Engine, int) error { return errDisk }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, c.engine)
				s.config.Detect = c.detect
				if c.change != nil {
					c.change(s)
				}
				_, a, err := s.detect(t.Context(), c.picture)
				if err == nil || wire.AsError(err).Code != c.code || a.Decoded != c.counted.Decoded || a.Inferred != 0 {
					t.Errorf("%v, accounting %+v", err, a)
				}
			})
		})
	}
}

// A caller that gives up leaves nothing behind, wherever its picture is.
func TestPictureWhoseCallerGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*still)
		busy    bool
		dropped int64
		answer  bool
	}{
		"while the engine is waited for": {change: func(s *still) { s.config.Inference = inference(never) }},
		"while the decoder starts": {change: func(s *still) {
			s.decoders.Starting = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}},
		"while it waits for the engine": {busy: true, dropped: 1},
		"while the engine runs":         {answer: true}, // its answer is there, then, and is given
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStill(t, infertest.Config{Price: infertest.Price{Run: time.Second}})
				if c.change != nil {
					c.change(s)
				}
				if c.busy {
					place, err := s.batcher.Join(&other{frame: s.decoders.Frames.Frame(0)}, infer.Client{Class: infer.Image})
					must(t, err)
					place.Ready(1)
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 500*ms)
				defer cancel()
				_, a, err := s.detect(ctx, "K")
				if (err == nil) != c.answer || a.Dropped["cancelled"] != c.dropped {
					t.Errorf("%v, accounting %+v", err, a)
				}
				if c.dropped > 0 && wire.AsError(err).Code != wire.Overloaded {
					t.Error(err)
				}
			})
		})
	}
}

package session_test

import (
	"context"
	"errors"
	"strings"
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

// inference is an Inference of any behaviour.
type inference func(ctx context.Context, waiting func()) (*infer.Batcher, error)

func (f inference) Acquire(ctx context.Context, _ session.Want, waiting func(wire.AI)) (*session.Hold, error) {
	b, err := f(ctx, func() { waiting(wire.AI{Availability: "CONVERTING"}) })
	return &session.Hold{Batcher: b, Release: func() {}}, err
}

// never is an engine that never becomes ready.
func never(ctx context.Context, waiting func()) (*infer.Batcher, error) {
	waiting()
	<-ctx.Done()
	return nil, ctx.Err()
}

func broken(context.Context, func()) (*infer.Batcher, error) {
	return nil, wire.Errorf(wire.EngineUnavailable, "no inference engine: none")
}

func startErr(err error) sessiontest.Config {
	return sessiontest.Config{Starting: func(context.Context) error { return err }}
}

func TestEverySessionHasOneEndThatSaysWhy(t *testing.T) {
	upload := func(v string) func(*rig) { return func(r *rig) { r.upload(v) } }
	for name, c := range map[string]struct {
		options
		do      func(*rig)
		outcome wire.Outcome // "": failed
		code    wire.Code
		says    string
		results int
	}{
		"done":        {do: upload(video(7)), outcome: wire.Done, results: 7},
		"unsupported": {do: upload("PK\x03\x04"), code: wire.UnsupportedMedia, says: `begins with 'P'`},
		"no pictures": {do: upload("xxx"), code: wire.DecodeFailed, says: "before its first picture"},
		"empty":       {do: func(r *rig) { r.feeder.EOF() }, code: wire.UnsupportedMedia, says: "0 bytes"},
		"crash":       {do: upload("Kppp!ppp"), code: wire.DecodeFailed, says: "killed", results: 4},
		"stall":       {do: upload("Kpp#"), code: wire.DecodeStalled, results: 3},
		"crash before the upload ends": {
			do: func(r *rig) { r.send("Kppp!") }, code: wire.DecodeFailed, results: 4,
		},
		"no decoder": {options: options{decoders: startErr(&media.Error{Kind: media.ErrStarting})}, do: upload("K"), code: wire.Overloaded},
		"too many pixels": {
			options: options{decoders: startErr(&media.Error{Kind: media.ErrTooLarge, Message: "too wide"})},
			do:      upload("K"), code: wire.TooLarge, says: "too wide",
		},
		"storage of our own": {options: options{decoders: startErr(errors.New("secret"))}, do: upload("K"), code: wire.Internal, says: "internal error"},
		"hash mismatch": {
			options: options{start: wire.Start{Media: wire.Media{SHA256: strings.Repeat("0", 64)}}},
			do:      upload(video(3)), code: wire.HashMismatch, says: "the 3 bytes received", results: 3,
		},
		"no engine": {options: options{inference: inference(broken)}, do: upload("K"), code: wire.EngineUnavailable, says: "none"},
		"unknown label": {
			options: options{start: wire.Start{Detect: &wire.Detect{Labels: []string{"unicorn"}}}},
			do:      upload("K"), code: wire.BadMessage, says: `"unicorn"`,
		},
		"cut off": {
			do:   func(r *rig) { r.send(video(5)); r.feeder.CutOff("the body ended") },
			code: wire.UploadIncomplete, says: "the body ended after 5 bytes", results: 5,
		},
		"cut off before the first byte": {do: func(r *rig) { r.feeder.CutOff("gone") }, code: wire.UploadIncomplete, says: "after 0 bytes"},
		"cut off before the first picture": {
			do: func(r *rig) { r.send("x"); r.feeder.CutOff("gone") }, code: wire.UploadIncomplete, says: "after 1 bytes",
		},
		"cut off before the index": {
			do: func(r *rig) { r.send("ix"); r.feeder.CutOff("gone") }, code: wire.UploadIncomplete, says: "after 2 bytes",
		},
		"nobody came back": {
			options: options{linger: time.Minute},
			do:      func(r *rig) { r.send(video(5)); r.feeder.Detach() },
			code:    wire.UploadIncomplete, says: "nobody resumed within 1m0s", results: 5,
		},
		"too large": {
			options: options{maxBytes: 6},
			do: func(r *rig) {
				r.send(video(5))
				if _, err := r.feeder.Write([]byte("pp")); wire.AsError(err).Code != wire.TooLarge {
					r.t.Errorf("write beyond the limit: %v", err)
				}
			},
			code: wire.TooLarge, says: "limit of 6 bytes", results: 5,
		},
		"given up by the door": {
			do:   func(r *rig) { r.send(video(5)); r.feeder.Fail(wire.Errorf(wire.StorageFull, "the disk is full")) },
			code: wire.StorageFull, says: "the disk is full", results: 5,
		},
		"aborted": {
			do: func(r *rig) {
				r.send(video(5))
				synctest.Wait()
				r.Abort(wire.Errorf(wire.Draining, "shutting down"))
				r.Cancel() // comes too late
			},
			code: wire.Draining, says: "shutting down", results: 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, c.options)
				c.do(r)
				events, end := r.finish()
				outcome := c.outcome
				if outcome == "" {
					outcome = wire.Failed
				}
				if end.Outcome != outcome || end.Code != c.code || !strings.Contains(end.Message, c.says) {
					t.Errorf("end %+v", end)
				}
				if n := len(results(events)); n != c.results {
					t.Errorf("%d results, want %d", n, c.results)
				}
				if f := r.Failure(); (f != nil) != (outcome == wire.Failed) || f != nil && f.Code != c.code {
					t.Errorf("failure %+v", f)
				}
			})
		})
	}
}

// What is cancelled ends as cancelled at every stage, and keeps what it has.
func TestCancelAtEveryStage(t *testing.T) {
	slow := []infertest.Config{{Price: infertest.Price{Run: time.Second}, MaxBatch: 1}}
	for name, c := range map[string]struct {
		options
		video   string
		after   time.Duration
		results int
		dropped int64
		more    int // results that may be there, too, as goroutines happen to run
	}{
		"while the engine is waited for": {options: options{inference: inference(never)}, video: "Kp"},
		"before the first byte":          {},
		"while the decoder starts": {
			options: options{decoders: sessiontest.Config{Starting: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}},
			video:   "K",
		},
		"while the index is waited for": {video: "iKp"},
		"before the first picture":      {video: "x"},
		"while bytes are waited for":    {video: video(5), results: 5},
		"while the engine runs":         {options: options{engines: slow}, video: video(20), after: 2500 * ms, results: 3, dropped: 4},
		"while the journal is slow":     {options: options{append: func(wire.Event) error { time.Sleep(time.Minute); return nil }}, video: video(100), after: 90 * time.Second, results: 64, dropped: 4, more: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, c.options)
				if c.video != "" {
					r.send(c.video)
				}
				time.Sleep(c.after)
				synctest.Wait()
				r.Cancel()
				r.Cancel()
				events, end := r.finish()
				if end.Outcome != wire.Cancelled || end.Code != "" || end.MediaSHA256 != "" || r.Failure() != nil {
					t.Errorf("end %+v", end)
				}
				if n := len(results(events)); n < c.results || n > c.results+c.more || end.Accounting.Dropped["cancelled"] != c.dropped {
					t.Errorf("%d results, accounting %+v", len(results(events)), end.Accounting)
				}
			})
		})
	}
}

func TestCancelAfterTheEndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{})
		r.upload(video(3))
		<-r.Done()
		r.Cancel()
		r.Abort(wire.Errorf(wire.Draining, "too late"))
		if _, end := r.finish(); end.Outcome != wire.Done {
			t.Errorf("end %+v", end)
		}
	})
}

package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"detections/infer"
	"detections/media"
	"detections/media/spool"
	"detections/session/wire"
)

// PictureConfig is what the detection in one still picture needs.
type PictureConfig struct {
	Principal string
	Inference Inference
	Decoders  Decoders
	Detect    *wire.Detect // nil: the defaults
}

// DetectPicture finds the objects in one picture whose bytes are all in the spool.
// The picture takes the same road as a video: a decoder process, the ready list, a
// batch. The accounting is complete whatever the error, a *wire.Error.
func DetectPicture(ctx context.Context, c PictureConfig, sp *spool.Spool) (wire.Picture, wire.Accounting, error) {
	p := picture{received: time.Now(), answered: make(chan struct{})}
	err := p.detect(ctx, c, sp)
	return p.answer, p.count.accounting(0), err
}

// picture is one picture on its way. It is its own infer.Source.
type picture struct {
	received time.Time
	count    counts
	model    *infer.Model
	settings settings
	answered chan struct{}
	answer   wire.Picture
	err      error

	mu    sync.Mutex
	frame *media.Frame // guarded by mu: until it is taken
}

func (p *picture) detect(ctx context.Context, c PictureConfig, sp *spool.Spool) error {
	hold, err := c.Inference.Acquire(ctx, Want{Picture: true}, func(wire.AI) {})
	if err != nil {
		return err
	}
	defer hold.Release()
	b := hold.Batcher
	p.model = b.Model()
	if p.settings, err = defaults().apply(&wire.Configure{Detect: c.Detect}, p.model); err != nil {
		return err
	}
	d, err := p.decode(ctx, c.Decoders, sp)
	if d != nil {
		defer func() { _ = d.Close() }() // nothing is left that closing could lose
	}
	if err != nil {
		return err
	}
	place, err := b.Join(p, infer.Client{Principal: c.Principal, Class: infer.Image})
	if err != nil {
		p.frame.Release()
		return err
	}
	defer place.Leave()
	place.Ready(1)
	select {
	case <-p.answered:
		return p.err
	case <-ctx.Done():
		return p.abandon(place)
	}
}

// decode takes the first frame out of the picture.
func (p *picture) decode(ctx context.Context, decoders Decoders, sp *spool.Spool) (media.Decoder, error) {
	file, err := sp.File()
	if err != nil {
		return nil, err
	}
	defer file.Close() // the decoder process has its own
	d, err := decoders.Start(ctx, file, media.Job{Views: []media.View{p.model.Input.View()}, Picture: true})
	if err != nil {
		return nil, mediaError(err)
	}
	d.Grow(sp.Size(), true)
	for {
		out, err := d.Next(ctx)
		p.count.decode = d.Stats()
		switch {
		case errors.Is(err, io.EOF):
			return d, wire.Errorf(wire.DecodeFailed, "the picture is damaged: nothing in its %d bytes could be decoded", sp.Size())
		case err != nil:
			return d, mediaError(err)
		case out.Frame != nil:
			p.frame = out.Frame
			return d, nil
		}
	}
}

// abandon gives up the frame if it was not taken yet, and else waits for its answer.
func (p *picture) abandon(place *infer.Place) error {
	place.Leave()
	p.mu.Lock()
	f := p.frame
	p.frame = nil
	p.mu.Unlock()
	if f == nil {
		<-p.answered
		return p.err
	}
	f.Release()
	p.count.dropped[cancelled]++
	return wire.Errorf(wire.Overloaded, "the picture was not inferred in time")
}

// Take implements infer.Source.
func (p *picture) Take() (r infer.Request, more, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frame == nil {
		return r, false, false
	}
	r = infer.Request{Frame: p.frame, Detect: p.settings.detect}
	p.frame = nil
	return r, false, true
}

// Done implements infer.Source.
func (p *picture) Done(f media.FrameInfo, r *infer.Result) {
	defer close(p.answered)
	p.count.settle(&entry{result: *r})
	if r.Err != nil {
		p.err = wire.Errorf(wire.Internal, "the engine failed on this picture")
		return
	}
	p.answer = wire.Picture{
		Width: f.Width, Height: f.Height, Model: p.model.Ref(), Detections: wire.NewDetections(p.model, r.Detections),
		Timing: wire.Timing{
			Receive: wire.Millis(max(0, f.Ready.Add(-f.Decode).Sub(p.received))), Decode: wire.Millis(f.Decode),
			Queue: wire.Millis(max(0, r.Bound.Sub(f.Ready))), Infer: wire.Millis(r.Finished.Sub(r.Bound)),
		}.Since(time.Since(p.received)),
	}
}

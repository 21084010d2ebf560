package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"os"
	"time"

	"detections/hub/outbox"
	"detections/hub/timeline"
	"detections/media"
	"detections/session"
	"detections/session/wire"
)

// film decodes a session's media again for its pictures, one after the other: the
// decoder goes on where it is as long as that is the shorter way.
type film struct {
	hub *Hub
	id  string

	busy bool      // guarded by camera.mu: somebody has it
	used time.Time // guarded by camera.mu

	// Owned by who has it.
	decoder media.Decoder // nil: none
	again   session.Again // what it decodes
	view    media.View
	at      int64         // the session's index of its latest frame
	behind  uint64        // live: events up to here are of no later segment
	segment *wire.Segment // live: the segment behind the one that is decoded; nil: none is known
	shots   []shot        // the latest pictures: a request that is repeated needs them again
}

// shot is the picture of an event.
type shot struct {
	offset uint64
	outbox.Picture
}

const (
	// jump is how many frames are decoded in vain at most before it is tried from a
	// checkpoint that is nearer.
	jump = 300
	// maxShots bounds the bytes of the pictures that are kept for a repetition; the
	// latest one is kept in any case.
	maxShots = 2 << 20
	// exposure is how long a decoder may take for a frame, without any coming, and how
	// often meanwhile it is looked whether more media has come.
	exposure     = 20 * time.Second
	exposureStep = 50 * time.Millisecond
)

// errNoFrame is a frame that does not come out of the decoder a second time.
var errNoFrame = fmt.Errorf("%w: the frame was not found again in the media", outbox.ErrNoPicture)

// picture takes the picture of a result.
func (f *film) picture(ctx context.Context, d *wire.Detections, v media.View) (*outbox.Picture, error) {
	for i := range f.shots {
		if f.shots[i].offset == d.Offset {
			return &f.shots[i].Picture, nil
		}
	}
	frame, err := f.frame(ctx, d, v)
	if err != nil {
		f.close()
		return nil, err
	}
	p := outbox.Picture{Width: v.Width, Height: v.Height}
	p.JPEG, err = encodePicture(frame.Views[0].Pix, v)
	frame.Release()
	if err != nil {
		return nil, err
	}
	f.keep(shot{d.Offset, p})
	return &p, nil
}

func (f *film) keep(s shot) {
	f.shots = append(f.shots, s)
	size := 0
	for i := len(f.shots) - 1; i >= 0; i-- {
		if size += len(f.shots[i].JPEG); size > maxShots && i < len(f.shots)-1 {
			f.shots = f.shots[i+1:]
			return
		}
	}
}

// frame decodes the frame of a result.
func (f *film) frame(ctx context.Context, d *wire.Detections, v media.View) (*media.Frame, error) {
	st, err := f.hub.timeline.Store().Status(ctx, f.id)
	if err != nil {
		return nil, err
	}
	o, err := decodeOrigin(st.Start)
	if err != nil {
		return nil, err
	}
	switch lacks, err := session.LeftOut(ctx, o.Start, d.Offset, f.hub.lines(f.id)); {
	case err != nil:
		return nil, err
	case lacks:
		return nil, fmt.Errorf("%w: decoding was behind, and left out pictures before this one", outbox.ErrNoPicture)
	}
	goesOn, sum, err := f.goesOn(ctx, o.Start, d, v)
	if err != nil {
		return nil, err
	}
	if goesOn {
		frame, err := f.search(ctx, d.Frame, sum)
		if !errors.Is(err, errNoFrame) {
			return frame, err
		}
	}
	if err := f.open(ctx, o.Start, d.Offset, v); err != nil {
		return nil, err
	}
	return f.search(ctx, d.Frame, f.again.Sum)
}

// goesOn says whether the decoder that there is may come to a result's frame.
func (f *film) goesOn(ctx context.Context, start wire.Start, d *wire.Detections, v media.View) (bool, uint32, error) {
	if f.decoder == nil || f.view != v || d.Frame <= f.at {
		return false, 0, nil
	}
	lines := f.hub.lines(f.id)
	if start.Mode == wire.Live {
		if f.segment == nil {
			var err error
			if f.segment, f.behind, err = session.NextSegment(ctx, f.behind, lines); err != nil {
				return false, 0, err
			}
		}
		return f.segment == nil || d.Offset < f.segment.Offset, 0, nil
	}
	again, err := session.Locate(ctx, start, d.Offset, lines)
	same := again.Job.Sample == f.again.Job.Sample && again.Job.From <= f.at && d.Frame-f.at <= jump
	return same, again.Sum, err
}

// open begins to decode where that leads to a result's frame.
func (f *film) open(ctx context.Context, start wire.Start, offset uint64, v media.View) (err error) {
	f.close()
	lines := f.hub.lines(f.id)
	if f.again, err = session.Locate(ctx, start, offset, lines); err != nil {
		return err
	}
	f.view, f.at, f.segment, f.behind = v, -1, nil, offset
	if start.Mode == wire.Live {
		if f.segment, f.behind, err = session.NextSegment(ctx, offset, lines); err != nil {
			return err
		}
	}
	file, err := os.Open(f.hub.spoolPath(f.id))
	if err != nil {
		return fmt.Errorf("%w: media of the session: %w", outbox.ErrNoPicture, err)
	}
	defer file.Close() // the decoder process has its own
	job := f.again.Job
	job.Views = []media.View{v}
	ctx, cancel := context.WithTimeout(ctx, exposure) // there may be too many decoders
	defer cancel()
	f.decoder, err = f.hub.cfg.Decoders.Start(ctx, file, job)
	return err
}

// search decodes up to a frame. It gives it only if it is the one that was inferred.
func (f *film) search(ctx context.Context, index int64, sum uint32) (*media.Frame, error) {
	for begun := time.Now(); ; {
		f.grow(ctx)
		step, cancel := context.WithTimeout(ctx, exposureStep)
		out, err := f.decoder.Next(step)
		late := step.Err() != nil
		cancel()
		switch frame := out.Frame; {
		case err != nil && late && ctx.Err() == nil && time.Since(begun) < exposure:
		case errors.Is(err, io.EOF):
			return nil, errNoFrame
		case err != nil:
			return nil, fmt.Errorf("decode frame %d again: %w", index, err)
		case frame == nil:
		default:
			begun, f.at = time.Now(), f.again.First+frame.Index
			switch {
			case f.at == index && (sum == 0 || frame.Checkpoint.Sum == sum):
				return frame, nil
			case f.at >= index:
				frame.Release()
				return nil, errNoFrame
			}
			frame.Release()
		}
	}
}

// grow tells the decoder how much of its input there is.
func (f *film) grow(ctx context.Context) {
	size, final := f.extent(ctx)
	if f.segment != nil {
		size, final = f.segment.Bytes, true
	}
	f.decoder.Grow(size-f.again.Job.Base, final)
}

// extent is how much media a session has, and whether that is all.
func (f *film) extent(ctx context.Context) (size int64, final bool) {
	st, err := f.hub.timeline.Store().Status(ctx, f.id)
	if err != nil {
		st = timeline.Status{} // it was deleted
	}
	f.hub.mu.Lock()
	e := f.hub.sessions[f.id]
	f.hub.mu.Unlock()
	if e != nil {
		st.Input.Bytes = max(st.Input.Bytes, e.Status().Received)
	}
	return st.Input.Bytes, st.Input.Final || st.Ended
}

// close ends the decoder, if there is one.
func (f *film) close() {
	if f.decoder != nil {
		_ = f.decoder.Close() // what it has to say nobody needs
		f.decoder = nil
	}
}

// qualities are those of pictures, from the first on until one is small enough.
var qualities = []int{85, 60, 30}

// maxJPEG is how many bytes a picture may have: bodies of 2 MiB must be enough for one.
const maxJPEG = 1 << 20

// encodePicture makes a JPEG of packed pixels.
func encodePicture(pix []byte, v media.View) ([]byte, error) {
	if len(pix) != v.Size() {
		return nil, fmt.Errorf("a picture of %d bytes, not %d", len(pix), v.Size())
	}
	img := image.NewRGBA(image.Rect(0, 0, v.Width, v.Height)) // which the encoder knows best
	for i, j := 0, 0; i < len(pix); i, j = i+3, j+4 {
		p := img.Pix[j : j+4 : j+4]
		p[0], p[1], p[2], p[3] = pix[i], pix[i+1], pix[i+2], 255
	}
	var b bytes.Buffer
	for _, q := range qualities {
		b.Reset()
		if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: q}); err != nil || b.Len() <= maxJPEG {
			return b.Bytes(), err
		}
	}
	return nil, fmt.Errorf("%w: it takes %d bytes, more than %d", outbox.ErrNoPicture, b.Len(), maxJPEG)
}

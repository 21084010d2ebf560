package outbox

import (
	"context"
	"errors"
	"slices"

	"detections/session/wire"
)

// The sizes of pictures.
const (
	NoPictures = "none"
	Thumbnails = "thumbnail" // ThumbnailSide at most
	FullSize   = "full"      // as large as the source
)

// ThumbnailSide is the longer side of a thumbnail, in pixels.
const ThumbnailSide = 320

// When frames are pictured.
const (
	Always     = "all" // whenever something in them is worth it
	OnArriving = "new" // when it was not in the sampled frame before
)

// PictureRule says which frames are delivered with a picture. What it says of a frame
// depends on that frame and the one before only, so that it is the same after a restart.
type PictureRule struct {
	// Size is one of the sizes; empty: NoPictures.
	Size string
	// Labels are those that are worth a picture; none: all are.
	Labels []string
	// Confidence is the least of a detection that is worth a picture.
	Confidence float64
	// When is Always (the default) or OnArriving.
	When string
}

// Off says that there are no pictures.
func (r PictureRule) Off() bool { return r.Size == "" || r.Size == NoPictures }

// Tells says whether something in a frame is worth a picture.
func (r PictureRule) Tells(found []wire.Detection) bool {
	return slices.ContainsFunc(found, r.worth)
}

// Wants says whether a frame is pictured. before is what was found in the sampled
// frame before.
func (r PictureRule) Wants(found, before []wire.Detection) bool {
	if r.When != OnArriving {
		return r.Tells(found)
	}
	return slices.ContainsFunc(found, func(d wire.Detection) bool {
		return r.worth(d) && !slices.ContainsFunc(before, func(b wire.Detection) bool { return b.Label == d.Label && r.worth(b) })
	})
}

func (r PictureRule) worth(d wire.Detection) bool {
	return float64(d.Confidence) >= r.Confidence && (len(r.Labels) == 0 || slices.Contains(r.Labels, d.Label))
}

// Picture is a frame as it is delivered. Boxes are in pixels of the source, so many of
// which are width by height of the event.
type Picture struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	JPEG   []byte `json:"jpeg"` // base64 in JSON
}

// ErrNoPicture is a picture that cannot be had, however often it is tried.
var ErrNoPicture = errors.New("there is no picture")

// Camera takes the pictures of frames. All methods may be called from any goroutine.
type Camera interface {
	// Picture takes that of a result, in the order of events if it is to be cheap; nil:
	// it is not to have one. An error may pass, other than ErrNoPicture.
	Picture(ctx context.Context, session string, e wire.Event) (*Picture, error)
}

// pictureTries is how often a picture is tried before its event goes without.
const pictureTries = 3

// item is an event to be delivered, maybe with a picture.
type item struct {
	wire.Event
	picture []byte // JSON; nil: none
	blurred bool   // it was to have one
}

func (i item) size() int { return len(i.Message) + len(i.picture) + overhead }

// picture takes the picture of an event, if it is to have one.
func (o *Outbox) picture(ctx context.Context, s *session, e wire.Event) (item, error) {
	i := item{Event: e, blurred: e.Offset == s.blurred}
	if o.cfg.Camera == nil || e.Type != wire.TypeDetections || e.Empty || i.blurred {
		return i, nil
	}
	p, err := o.cfg.Camera.Picture(ctx, s.id, e)
	switch {
	case err == nil && p != nil:
		i.picture = wire.Encode(p)
	case err == nil:
	case ctx.Err() != nil:
		return i, err
	default:
		if s.blurs++; s.blurs < pictureTries && !errors.Is(err, ErrNoPicture) {
			return i, err
		}
		o.log.Error("a result is delivered without its picture", "session", s.id, "offset", e.Offset, "err", err)
		s.blurred, i.blurred = e.Offset, true
	}
	s.blurs = 0
	return i, nil
}

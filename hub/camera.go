package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"detections/hub/outbox"
	"detections/media"
	"detections/session/wire"
)

// camera takes the pictures of frames that are delivered with their results. It
// implements outbox.Camera.
//
// Nothing is done when a frame is inferred: its media is kept until it is delivered,
// and decoded a second time, from the checkpoint beside the result before it. So the hot
// path costs nothing, and a picture survives whatever its result survives.
type camera struct {
	hub  *Hub
	rule outbox.PictureRule

	mu     sync.Mutex
	free   sync.Cond        // a film is not in use any more
	films  map[string]*film // guarded by mu, by session
	closed bool             // guarded by mu
}

// maxFilms bounds the decoders of a camera. One that is not in use makes room for
// another session's.
const maxFilms = 2

func newCamera(h *Hub, rule outbox.PictureRule) *camera {
	c := &camera{hub: h, rule: rule, films: map[string]*film{}}
	c.free.L = &c.mu
	return c
}

// Picture implements outbox.Camera.
func (c *camera) Picture(ctx context.Context, id string, e wire.Event) (*outbox.Picture, error) {
	var now, before wire.Detections
	if err := json.Unmarshal(e.Message, &now); err != nil {
		return nil, fmt.Errorf("result in the log: %w", err)
	}
	if !c.rule.Tells(now.Detections) || now.Width < 1 || now.Height < 1 {
		return nil, nil
	}
	if c.rule.When == outbox.OnArriving {
		if err := c.resultBefore(ctx, id, e.Offset, &before); err != nil {
			return nil, err
		}
	}
	if !c.rule.Wants(now.Detections, before.Detections) {
		return nil, nil
	}
	f, err := c.take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer c.give(f)
	return f.picture(ctx, &now, c.view(&now))
}

// resultBefore reads the result before an event, if there is one.
func (c *camera) resultBefore(ctx context.Context, id string, offset uint64, before *wire.Detections) error {
	const batch = 8
	for to := offset - 1; to > 0; to -= min(to, batch) {
		after := to - min(to, batch)
		recs, err := c.hub.timeline.Store().Read(ctx, id, after, int(to-after))
		if err != nil {
			return err
		}
		for _, r := range slices.Backward(recs) {
			if r.Type == wire.TypeDetections {
				return json.Unmarshal(r.Message, before)
			}
		}
	}
	return nil
}

// view is what a decoder is asked for: the pixels of the source, whatever their shape,
// so that boxes fit.
func (c *camera) view(d *wire.Detections) media.View {
	side, longer := media.MaxViewSide, max(d.Width, d.Height)
	if c.rule.Size == outbox.Thumbnails {
		side = outbox.ThumbnailSide
	}
	scaled := func(n int) int { return max(1, (n*side+longer/2)/longer) }
	v := media.View{Width: d.Width, Height: d.Height, Format: media.RGB24, Fit: media.Stretch}
	if longer > side {
		v.Width, v.Height = scaled(d.Width), scaled(d.Height)
	}
	return v
}

// take gives the caller a session's film, which nobody else has meanwhile.
func (c *camera) take(ctx context.Context, id string) (*film, error) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.free.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for ctx.Err() == nil && !c.closed {
		f := c.films[id]
		if f == nil && c.room() {
			f = &film{hub: c.hub, id: id}
			c.films[id] = f
		}
		if f != nil && !f.busy {
			f.busy = true
			return f, nil
		}
		c.free.Wait()
	}
	return nil, cmp.Or(context.Cause(ctx), context.Canceled)
}

// room makes room for another film, and says whether there is. c.mu is held.
func (c *camera) room() bool {
	if len(c.films) < maxFilms {
		return true
	}
	var oldest *film
	for _, f := range c.films {
		if !f.busy && (oldest == nil || f.used.Before(oldest.used)) {
			oldest = f
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.films, oldest.id)
	oldest.close()
	return true
}

func (c *camera) give(f *film) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.busy, f.used = false, time.Now()
	if c.films[f.id] != f {
		f.close()
	}
	c.free.Broadcast()
}

// forget lets go of a session's film: no more pictures of it are needed.
func (c *camera) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.films[id]; f != nil {
		delete(c.films, id)
		if !f.busy {
			f.close()
		}
		c.free.Broadcast()
	}
}

// close lets go of all films, once nobody takes pictures any more.
func (c *camera) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, f := range c.films {
		f.close()
	}
	c.films = nil
	c.free.Broadcast()
}

// hasCamera says whether media is needed for as long as its results are not delivered.
func (h *Hub) hasCamera() bool { return h.camera != nil }

// keepMedia notes how much an ended session's media takes, if it is needed still; else
// that is removed. It is called whenever that may have changed.
func (h *Hub) keepMedia(e *entry) {
	if !h.hasCamera() {
		return
	}
	h.mu.Lock()
	ended, over := !e.endedAt.IsZero(), h.delivered(e)
	if e.media = 0; ended && !over {
		if st, err := os.Stat(h.spoolPath(e.ID())); err == nil {
			e.media = st.Size()
		}
	}
	h.mu.Unlock()
	if ended && over {
		h.dropMedia(e)
	}
}

// dropMedia removes the media that was kept of a session.
func (h *Hub) dropMedia(e *entry) {
	if !h.hasCamera() {
		return
	}
	h.camera.forget(e.ID())
	if err := os.Remove(h.spoolPath(e.ID())); err != nil && !os.IsNotExist(err) {
		h.log.Warn("the media was not removed", "session", e.ID(), "err", err)
	}
}

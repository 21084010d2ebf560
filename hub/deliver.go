package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"detections/hub/outbox"
	"detections/hub/timeline"
	"detections/session/wire"
)

// openOutbox makes the outbox on the timelines, in a folder of the data directory.
func (h *Hub) openOutbox() error {
	if h.cfg.Outbox == nil {
		return nil
	}
	c := *h.cfg.Outbox
	c.Source, c.Dir = deliveries{h}, filepath.Join(h.cfg.Dir, "outbox")
	if !c.Pictures.Off() {
		h.camera = newCamera(h, c.Pictures)
		c.Camera = h.camera
	}
	box, err := outbox.New(c)
	h.outbox = box
	return err
}

// runOutbox delivers until stopOutbox.
func (h *Hub) runOutbox() {
	if h.outbox == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.outbox.Run(ctx) }()
	h.stopOutbox = func() {
		cancel()
		<-done
		if h.hasCamera() {
			h.camera.close()
		}
	}
}

// Outbox delivers to the Annotations service; nil: nothing does.
func (h *Hub) Outbox() *outbox.Outbox { return h.outbox }

// delivered says whether nobody waits for an ended session's results any more. h.mu
// is held.
func (h *Hub) delivered(e *entry) bool { return h.outbox == nil || e.delivered >= e.last }

// deliveries are the timelines as the outbox sees them. It implements outbox.Source.
type deliveries struct{ hub *Hub }

// Undelivered implements outbox.Source.
func (d deliveries) Undelivered(ctx context.Context) ([]outbox.Session, error) {
	all, err := d.store().List(ctx, false)
	if err != nil {
		return nil, err
	}
	var left []outbox.Session
	for _, st := range all {
		if st.Delivered < st.Offset {
			left = append(left, d.describe(ctx, st))
		}
	}
	return left, nil
}

// Session implements outbox.Source.
func (d deliveries) Session(ctx context.Context, id string) (outbox.Session, error) {
	st, err := d.store().Status(ctx, id)
	if err != nil {
		return outbox.Session{}, unknownToOutbox(err)
	}
	return d.describe(ctx, st), nil
}

// describe adds what the client and the end of the session say of its media. What of
// that is damaged is left out: the events count, not their labels.
func (d deliveries) describe(ctx context.Context, st timeline.Status) outbox.Session {
	o, err := decodeOrigin(st.Start)
	s := outbox.Session{
		ID: st.ID, Principal: st.Principal, Epoch: st.Epoch, MediaID: o.Start.Media.ID, MediaName: o.Start.Media.Name,
		Offset: st.Offset, Delivered: st.Delivered, Ended: st.Ended,
	}
	if st.Ended {
		var end wire.End
		recs, readErr := d.store().Read(ctx, st.ID, st.Offset-1, 1)
		if len(recs) == 1 {
			readErr = errors.Join(readErr, json.Unmarshal(recs[0].Message, &end))
		}
		s.MediaSHA256, err = end.MediaSHA256, errors.Join(err, readErr)
	}
	if err != nil {
		d.hub.log.Warn("the media of a session is delivered without its name or hash", "session", st.ID, "err", err)
	}
	return s
}

// Read implements outbox.Source.
func (d deliveries) Read(ctx context.Context, id string, after uint64, limit int) ([]wire.Event, error) {
	recs, err := d.store().Read(ctx, id, after, limit)
	events := make([]wire.Event, len(recs))
	for i, r := range recs {
		events[i] = r.Event
	}
	return events, unknownToOutbox(err)
}

// Deliver implements outbox.Source.
func (d deliveries) Deliver(ctx context.Context, id string, offset uint64) error {
	if err := d.store().Deliver(ctx, id, offset); err != nil {
		return unknownToOutbox(err)
	}
	h := d.hub
	h.mu.Lock()
	e := h.sessions[id]
	if e != nil {
		e.delivered = max(e.delivered, offset)
	}
	h.mu.Unlock()
	if e != nil {
		h.keepMedia(e)
	}
	return nil
}

func (d deliveries) store() timeline.Store { return d.hub.timeline.Store() }

func unknownToOutbox(err error) error {
	if errors.Is(err, timeline.ErrUnknown) {
		return fmt.Errorf("%w: %w", outbox.ErrUnknown, err)
	}
	return err
}

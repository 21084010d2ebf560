package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"detections/hub/timeline"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// origin is what the hub itself records of a session, beside its timeline.
type origin struct {
	Start wire.Start `json:"start"`
	Token string     `json:"token"`
	Key   string     `json:"key,omitempty"`
	Fetch *fetch     `json:"fetch,omitempty"` // where the media comes from; nil: a client sends it
}

func (o origin) encode() []byte { return wire.Encode(o) }

func (h *Hub) spoolPath(id string) string { return filepath.Join(h.spoolDir(), id+".media") }

// owned is a session that this process runs.
type owned struct {
	*entry
	hub    *Hub
	writer *timeline.Writer
	spool  *spool.Spool
	fetch  *fetch // nil: a client is the feeder
}

// own takes a session's timeline and makes the session. Call live next.
func (h *Hub) own(ctx context.Context, meta timeline.Meta, o origin, sp *spool.Spool, past *session.Past) (*owned, error) {
	writer, _, err := h.timeline.Acquire(ctx, meta.ID)
	if err != nil {
		return nil, fmt.Errorf("own timeline: %w", err)
	}
	writer.Again = o.Start.Mode != wire.Live
	e := h.entryOf(meta, o)
	c := h.sessionConfig(meta, o)
	c.Pace = h.pace(meta.Principal)
	c.Journal, c.Spool, c.Past = &journal{Writer: writer, hub: h, session: meta.ID, principal: meta.Principal}, sp, past
	e.Session, e.recalled = session.New(c), past.Accounting()
	own := &owned{entry: e, hub: h, writer: writer, spool: sp}
	if o.Fetch != nil && h.outbox != nil && (past == nil || !past.Complete) {
		own.fetch, o.Fetch.owned = o.Fetch, true
		if past != nil {
			own.fetch.belong(h, o.Start.Media.ID)
		}
	}
	return own, nil
}

func (h *Hub) entryOf(meta timeline.Meta, o origin) *entry {
	return &entry{epoch: meta.Epoch, token: o.Token, key: o.Key, over: make(chan struct{})}
}

func (h *Hub) sessionConfig(meta timeline.Meta, o origin) session.Config {
	var turn session.Turn
	if o.Start.Mode != wire.Live {
		turn = h.files.enter
	}
	rates := h.limits.Rates
	if o.Fetch != nil {
		rates.Least = 0 // the service's slowness is not held against the media
	}
	if r := h.limits.ByteRate; r > 0 { // nor our own
		rates.Least = min(rates.Least, r/int64(2*h.limits.Sessions))
	}
	return session.Config{
		ID: meta.ID, Turn: turn, Principal: meta.Principal, Start: o.Start, Created: meta.Created, Clock: h.cfg.Clock, Inference: h.cfg.AI, Decoders: h.cfg.Decoders,
		MaxBytes: h.limits.Bytes, Rates: rates, Room: h.roomToGoOn, Linger: h.limits.Linger, OnResult: h.cfg.OnResult, Logger: h.log.With("session", meta.ID),
	}
}

// live runs a session until it ends or is suspended, in a goroutine of its own.
func (o *owned) live() {
	defer close(o.over)
	defer o.writer.Close()
	stop := o.fetch.feed(o.Session)
	err := o.Run()
	stop()
	h := o.hub
	if err != nil || o.Suspended() { // in the log it goes on, so its media is kept
		if err := errors.Join(err, o.spool.Close()); err != nil {
			h.log.Warn("the session was not suspended cleanly", "session", o.ID(), "err", err)
		}
		return
	}
	err = o.spool.Close()
	if !h.hasCamera() {
		err = errors.Join(err, o.spool.Remove())
	}
	if err != nil {
		h.log.Warn("the media was not removed", "session", o.ID(), "err", err)
	}
	st := o.Status()
	h.log.Info("session ended", "session", o.ID(), "principal", o.Principal(), "bytes", st.Received, "events", st.Offset,
		"outcome", st.End.Outcome, "code", st.End.Code, "inferred", st.Accounting.Inferred, "skipped", st.Accounting.Skipped, "dur", time.Since(st.Created).Round(time.Millisecond))
	h.keep(o.entry, time.Now(), func() {
		h.totals.add(st.Accounting)
		h.totals.subtract(o.recalled)
		h.endings[Ended{st.End.Outcome, st.End.Code}]++
	})
	h.sweep(time.Now())
}

// keep puts a session among those that have ended, in their order. At that moment it is
// counted: whoever sums up finds it once, among those that run or here.
func (h *Hub) keep(e *entry, at time.Time, count func()) {
	known := h.learn(context.Background(), e)
	st, err := h.timeline.Store().Status(context.Background(), e.ID())
	if err != nil {
		h.log.Warn("an ended session's size is not known", "session", e.ID(), "err", err)
	}
	defer h.keepMedia(e)
	h.mu.Lock()
	defer h.mu.Unlock()
	e.endedAt, e.known, e.bytes, e.last, e.delivered = at, known, st.Bytes, st.Offset, max(e.delivered, st.Delivered)
	count()
	i, _ := slices.BinarySearchFunc(h.ended, at, func(o *entry, at time.Time) int { return o.endedAt.Compare(at) })
	h.ended = slices.Insert(h.ended, i, e)
	if known != "" {
		h.known[known] = e.ID()
	}
}

// lines reads a session's timeline for it.
func (h *Hub) lines(id string) func(ctx context.Context, after uint64, limit int) ([]session.Line, error) {
	return func(ctx context.Context, after uint64, limit int) ([]session.Line, error) {
		recs, err := h.timeline.Store().Read(ctx, id, after, limit)
		lines := make([]session.Line, len(recs))
		for i, r := range recs {
			lines[i] = session.Line{Event: r.Event, Replay: r.Replay}
		}
		return lines, err
	}
}

func decodeOrigin(b []byte) (o origin, err error) {
	if err := json.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("what the session was asked to do: %w", err)
	}
	return o, nil
}

package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"detections/hub/timeline"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// restore takes up the sessions of earlier processes: those that had not ended go
// on, the others can be read until their retention is over.
func (h *Hub) restore(ctx context.Context) error {
	begun := time.Now()
	all, err := h.timeline.Store().List(ctx, false)
	if err != nil {
		return err
	}
	running := 0
	for _, st := range all {
		if st.Ended {
			h.restoreEnded(ctx, st)
			continue
		}
		running++
		if err := h.restoreRunning(ctx, st); err != nil {
			return fmt.Errorf("session %s: %w", st.ID, err)
		}
	}
	if len(all) > 0 {
		h.log.Info("sessions taken up", "running", running, "ended", len(all)-running, "dur", time.Since(begun).Round(time.Millisecond))
	}
	return h.removeOrphans()
}

// restoreRunning lets a session go on.
func (h *Hub) restoreRunning(ctx context.Context, st timeline.Status) error {
	o, past, sp, err := h.recall(ctx, st)
	if err != nil {
		h.log.Error("a session cannot go on", "session", st.ID, "err", err)
		return h.giveUp(ctx, st, o)
	}
	e, err := h.own(ctx, st.Meta, o, sp, past)
	if err != nil {
		return errors.Join(err, sp.Close())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.index(e.entry)
	h.work.Go(e.live)
	return nil
}

// index makes a restored session known by its id and its key. h.mu is held.
func (h *Hub) index(e *entry) {
	h.sessions[e.ID()] = e
	if e.key != "" {
		h.keys[e.key] = e.ID()
	}
}

// recall reads where a session was and opens its media.
func (h *Hub) recall(ctx context.Context, st timeline.Status) (o origin, p *session.Past, sp *spool.Spool, err error) {
	if o, err = decodeOrigin(st.Start); err != nil {
		return o, nil, nil, err
	}
	if p, err = session.Recall(ctx, st.Offset, h.lines(st.ID)); err != nil {
		return o, nil, nil, err
	}
	p.Complete = st.Input.Final
	sp, err = spool.Open(h.spoolPath(st.ID), st.Input.Bytes)
	if errors.Is(err, os.ErrNotExist) && st.Input.Bytes == 0 {
		sp, err = spool.Create(h.spoolPath(st.ID)) // nothing of it was ever durable
	}
	return o, p, sp, err
}

// giveUp ends a session whose record or media is damaged. Its results are kept.
func (h *Hub) giveUp(ctx context.Context, st timeline.Status, o origin) error {
	w, st, err := h.timeline.Acquire(ctx, st.ID)
	if err != nil {
		return err
	}
	defer w.Close()
	end := wire.End{
		Outcome: wire.Failed, Code: wire.Internal, Bytes: st.Input.Bytes, Accounting: session.NoFrames(),
		Message: "the hub was restarted and what it kept of this session is damaged; results so far are kept",
	}
	line := session.EndLine(&end, st.Offset+1, h.cfg.Clock())
	if err := w.Append(ctx, st.Offset, line.Event, line.Replay); err != nil {
		return err
	}
	return h.addEnded(st.Meta, o, line)
}

// restoreEnded makes an ended session readable. If its end cannot be read, nobody can
// use it, and nobody else suffers.
func (h *Hub) restoreEnded(ctx context.Context, st timeline.Status) {
	o, err := decodeOrigin(st.Start)
	if err != nil {
		h.log.Error("what an ended session was asked to do is damaged; its results are kept", "session", st.ID, "err", err)
	}
	lines, err := h.lines(st.ID)(ctx, st.Offset-1, 1)
	if err == nil && len(lines) != 1 {
		err = fmt.Errorf("event %d is missing", st.Offset)
	}
	if err == nil {
		err = h.addEnded(st.Meta, o, lines[0])
	}
	if err != nil {
		h.log.Error("an ended session cannot be read", "session", st.ID, "err", err)
	}
}

func (h *Hub) addEnded(meta timeline.Meta, o origin, last session.Line) error {
	e := h.entryOf(meta, o)
	close(e.over)
	s, at, err := session.NewEnded(h.sessionConfig(meta, o), last)
	if err != nil {
		return err
	}
	e.Session = s
	h.mu.Lock()
	h.index(e)
	h.mu.Unlock()
	h.keep(e, at)
	return nil
}

// removeOrphans deletes what no session owns: media of sessions that ended or were
// never recorded when the process was killed.
func (h *Hub) removeOrphans() error {
	files, err := os.ReadDir(h.spoolDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		id := strings.TrimSuffix(f.Name(), ".media")
		h.mu.Lock()
		e := h.sessions[id]
		wanted := e != nil && (e.endedAt.IsZero() || e.media > 0)
		h.mu.Unlock()
		if wanted {
			continue
		}
		if err := os.RemoveAll(filepath.Join(h.spoolDir(), f.Name())); err != nil {
			return err
		}
		h.log.Info("removed media that belongs to no session", "file", f.Name())
	}
	return nil
}

package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"detections/infer"
	"detections/media/spool"
	"detections/session"
	"detections/session/wire"
)

// totals sums accountings.
type totals struct{ wire.Accounting }

// newTotals has every reason at zero, so that a dashboard shows 0, not nothing.
func newTotals() totals { return totals{session.NoFrames()} }

func (t *totals) add(a wire.Accounting)      { t.count(a, 1) }
func (t *totals) subtract(a wire.Accounting) { t.count(a, -1) }

// count adds an accounting so many times.
func (t *totals) count(a wire.Accounting, times int64) {
	t.Decoded += times * a.Decoded
	t.Inferred += times * a.Inferred
	t.Skipped += times * a.Skipped
	t.Pending += times * a.Pending
	t.Concealed += times * a.Concealed
	addTo(t.Dropped, a.Dropped, times)
	addTo(t.Failed, a.Failed, times)
	addTo(t.Undecoded, a.Undecoded, times)
}

func addTo(sum, more map[string]int64, times int64) {
	for k, n := range more {
		sum[k] += times * n
	}
}

// Stats are the hub's counters.
type Stats struct {
	States     map[wire.StateName]int // running sessions
	Accounting wire.Accounting        // of everything since this process began, pictures included
	Batcher    infer.BatcherStats
	Ended      map[Ended]int64 // sessions since then; every code is there
	Draining   bool
}

// Ended is how a session ended.
type Ended struct {
	Outcome wire.Outcome
	Code    wire.Code // empty unless it failed
}

// newEnded has every end at zero.
func newEnded() map[Ended]int64 {
	all := map[Ended]int64{{Outcome: wire.Done}: 0, {Outcome: wire.Cancelled}: 0}
	for _, e := range wire.Errors {
		all[Ended{wire.Failed, e.Code}] = 0
	}
	return all
}

// Stats sums up all sessions.
func (h *Hub) Stats() Stats {
	s := Stats{States: map[wire.StateName]int{}, Batcher: h.cfg.AI.Stats(), Draining: h.IsDraining()}
	sum := newTotals()
	h.mu.Lock()
	sum.add(h.totals.Accounting)
	s.Ended = maps.Clone(h.endings)
	running := h.listLocked()
	h.mu.Unlock()
	for _, e := range running {
		st := e.Status()
		s.States[st.State]++
		if st.End != nil { // it is being tidied up
			s.Ended[Ended{st.End.Outcome, st.End.Code}]++
		}
		sum.add(st.Accounting)
		sum.subtract(e.recalled)
	}
	s.Accounting = sum.Accounting
	return s
}

// Sessions are the principal's sessions, or Everyone's, running and kept, oldest first.
func (h *Hub) Sessions(principal string) []session.Status {
	h.mu.Lock()
	var all []*entry
	for _, e := range h.sessions {
		if sees(principal, e.Principal()) {
			all = append(all, e)
		}
	}
	h.mu.Unlock()
	out := make([]session.Status, len(all))
	for i, e := range all {
		out[i] = e.Status()
	}
	slices.SortFunc(out, func(a, b session.Status) int { return a.Created.Compare(b.Created) })
	return out
}

// listLocked are the sessions that run. h.mu is held.
func (h *Hub) listLocked() []*entry {
	var running []*entry
	for _, e := range h.sessions {
		if e.endedAt.IsZero() {
			running = append(running, e)
		}
	}
	return running
}

// Picture finds the objects in one still picture.
func (h *Hub) Picture(ctx context.Context, principal string, body io.Reader, d *wire.Detect) (wire.Picture, error) {
	if err := h.enter(); err != nil {
		return wire.Picture{}, err
	}
	defer h.leave()
	pace := h.pace(principal)
	if err := h.allowPicture(pace); err != nil {
		return wire.Picture{}, err
	}
	sp, err := h.receive(pace.Reader(ctx, body))
	if err != nil {
		return wire.Picture{}, err
	}
	defer func() { _ = sp.Close() }() // in memory: nothing can be lost
	c := session.PictureConfig{Principal: principal, Inference: h.cfg.AI, Decoders: h.cfg.Decoders, Detect: d}
	answer, counted, err := session.DetectPicture(ctx, c, sp)
	h.mu.Lock()
	h.totals.add(counted)
	h.mu.Unlock()
	if err == nil && h.cfg.OnResult != nil {
		h.cfg.OnResult(answer.Timing)
	}
	return answer, err
}

// enter says whether another picture may be worked on, and counts it in. It keeps
// Close waiting until it has left. Pictures are served until then: they do not last.
func (h *Hub) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case isClosed(h.quit):
		return wire.Errorf(wire.Draining, "the hub is shutting down; try again in a moment")
	case h.pictures >= h.limits.Pictures:
		return wire.Errorf(wire.Overloaded, "%d pictures are being worked on, which is the limit; try again in a moment", h.pictures)
	}
	h.pictures++
	h.work.Add(1)
	return nil
}

func (h *Hub) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pictures--
	h.work.Done()
}

// receive reads a picture into memory.
func (h *Hub) receive(body io.Reader) (*spool.Spool, error) {
	sp, err := spool.Memory("picture")
	if err != nil {
		return nil, storageError(err)
	}
	_, err = io.Copy(appender{sp}, io.LimitReader(body, h.limits.Picture+1))
	switch n := sp.Size(); {
	case err != nil:
		err = wire.Errorf(wire.UploadIncomplete, "the body ended after %d bytes: %v", n, err)
	case n == 0:
		err = wire.Errorf(wire.UnsupportedMedia, "the body is empty; send the bytes of a picture")
	case n > h.limits.Picture:
		err = wire.Errorf(wire.TooLarge, "the picture is larger than the limit of %d bytes", h.limits.Picture)
	}
	if err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	return sp, nil
}

type appender struct{ *spool.Spool }

func (a appender) Write(p []byte) (int, error) { return len(p), a.Append(p) }

// Running is how many sessions have not ended.
func (h *Hub) Running() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.runningLocked()
}

// runningLocked does not count a session whose clients were told of its end, even if
// it is still being tidied up: they may begin the next one at once.
func (h *Hub) runningLocked() int {
	n := 0
	for _, e := range h.listLocked() {
		if e.Status().End == nil {
			n++
		}
	}
	return n
}

// NotReady says why new work should not be sent here; nothing: it should.
func (h *Hub) NotReady() []string {
	var why []string
	if ai := h.cfg.AI.Status(); ai.Availability != Enabled && !h.cfg.AI.sleeps() {
		why = append(why, strings.TrimSpace("no engine is ready: aiAvailability is "+string(ai.Availability)+" "+ai.Reason))
	}
	why = append(why, engineTrouble(h.cfg.AI.Stats())...)
	if h.IsDraining() {
		why = append(why, "the hub is shutting down")
	}
	if wrong := h.storage.notReady(); wrong != "" {
		why = append(why, wrong)
	}
	if n := h.Running(); n >= h.limits.Sessions {
		why = append(why, fmt.Sprintf("%d sessions are running, which is the limit", n))
	}
	return why
}

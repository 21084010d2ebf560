package hub

import (
	"context"
	"strings"

	"detections/session"
	"detections/session/wire"
)

// What determines a file's results is its bytes, its configuration and the identity
// of the engine. A session that has them all can answer for another one, of the same
// principal.

func knownKey(principal, sha256, results string) string {
	return strings.Join([]string{principal, strings.ToLower(sha256), results}, "\x00")
}

// knows gives a session that has the results of a start's media already, or nil.
func (h *Hub) knows(ctx context.Context, principal string, m wire.Start) *entry {
	if m.Media.SHA256 == "" || h.ofKey(principal, m.Key) != nil {
		return nil
	}
	b := h.cfg.AI.ready()
	if b == nil {
		return nil
	}
	results, err := session.Identify(m, b.Model(), b.Identity())
	if err != nil {
		return nil // Start says what is wrong
	}
	h.settle(ctx, principal, m.Media.SHA256)
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[h.known[knownKey(principal, m.Media.SHA256, results)]]
}

// settle waits a moment for sessions of these bytes whose clients were told of their
// end already: what they ask next, they take for known.
func (h *Hub) settle(ctx context.Context, principal, sum string) {
	h.mu.Lock()
	running := h.listLocked()
	h.mu.Unlock()
	for _, e := range running {
		if end := e.Status().End; end == nil || e.Principal() != principal || !strings.EqualFold(end.MediaSHA256, sum) {
			continue
		}
		select {
		case <-e.over:
		case <-ctx.Done():
		}
	}
}

// learn gives the key under which an ended session's results can be found again;
// empty if they depend on more than that.
func (h *Hub) learn(ctx context.Context, e *entry) string {
	st := e.Status()
	if st.End == nil || st.End.Outcome != wire.Done || st.End.MediaSHA256 == "" || st.Offset < 2 {
		return ""
	}
	past, err := session.Recall(ctx, st.Offset-1, h.lines(e.ID()))
	if err != nil {
		h.log.Warn("an ended session's results will not be found by their media", "session", e.ID(), "err", err)
		return ""
	}
	results, ok := past.Identity(e.Asked(), st.End)
	if !ok {
		return ""
	}
	return knownKey(e.Principal(), st.End.MediaSHA256, results)
}

// FindMedia is the newest of the principal's sessions on media, by its id at the
// Annotations service or its hash; one that runs comes before those that have ended,
// and counts by the hash that was declared. UnknownMedia: there is none.
func (h *Hub) FindMedia(principal, media string) (id string, err error) {
	running := false
	for _, st := range h.Sessions(principal) {
		sum := st.Media.SHA256
		if st.End != nil {
			sum = st.End.MediaSHA256
		}
		if (st.Media.ID == media || strings.EqualFold(sum, media)) && (st.End == nil || !running) {
			id, running = st.ID, st.End == nil
		}
	}
	if id == "" || media == "" {
		return "", wire.Errorf(wire.UnknownMedia, "there is no session with media %.80q, neither by its id nor by its SHA-256", media)
	}
	return id, nil
}

// ByMedia are the principal's sessions of these bytes, oldest first.
func (h *Hub) ByMedia(principal, sha256 string) []session.Status {
	var found []session.Status
	for _, st := range h.Sessions(principal) {
		if st.End != nil && strings.EqualFold(st.End.MediaSHA256, sha256) {
			found = append(found, st)
		}
	}
	return found
}

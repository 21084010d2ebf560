package hub

import (
	"time"

	"detections/session"
	"detections/session/wire"
)

// pace is what a principal may use per second; nil: any number.
func (h *Hub) pace(principal string) *session.Pace {
	if h.limits.FrameRate == 0 && h.limits.ByteRate == 0 && h.limits.DecodeCores == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.paces[principal]
	if p == nil {
		p = session.NewPace(h.limits.FrameRate, float64(h.limits.ByteRate), h.limits.DecodeCores)
		h.paces[principal] = p
	}
	return p
}

// forgetPaces forgets those of principals that have no session and used nothing lately.
func (h *Hub) forgetPaces() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.paces) == 0 {
		return
	}
	has := map[string]bool{}
	for _, e := range h.listLocked() {
		has[e.Principal()] = true
	}
	for principal, p := range h.paces {
		if !has[principal] && p.Rested() {
			delete(h.paces, principal)
		}
	}
}

// allowPicture says whether a principal may have another picture inferred now. Those who
// sent it wait for an answer, and everybody for one of the few places of pictures: so a
// picture does not wait.
func (h *Hub) allowPicture(p *session.Pace) error {
	if p.Allow() {
		return nil
	}
	return wire.Errorf(wire.Quota, "you have had %v frames of this second, which is the limit for one client; try again in %v", h.limits.FrameRate, max(time.Second, time.Duration(float64(time.Second)/h.limits.FrameRate)))
}

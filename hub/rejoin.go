package hub

import (
	"context"

	"detections/session"
	"detections/session/wire"
)

// Rejoin makes the caller the feeder of a session that is fed over WebRTC. Whose
// session it is may do so without its token: WHIP has no place for one.
func (h *Hub) Rejoin(ctx context.Context, principal, id string, results wire.Results) (*session.Attachment, error) {
	e, err := h.find(principal, id)
	switch {
	case err != nil:
		return nil, err
	case !e.TakesRTP():
		return nil, wire.Errorf(wire.Conflict, "session %.40q is not fed over WebRTC; resume it over a WebSocket", id)
	case e.Ends():
		return nil, wire.Errorf(wire.Conflict, "session %.40q has ended, or is about to and takes nothing more; POST without ?session= begins another one", id)
	}
	status, err := h.timeline.Store().Status(ctx, id)
	if err != nil {
		return nil, storeError("look at timeline", err)
	}
	return h.attach(ctx, e, int64(status.Offset), results, true)
}

package web

import (
	"context"
	"encoding/json"
	"net/http"

	"detections/hub/outbox"
	"detections/session/wire"
)

// Outbox is what delivers to the Annotations service: an *outbox.Outbox.
type Outbox interface {
	State() outbox.State
	Letters() []outbox.Letter
	Retry(ctx context.Context, keys ...string) (outbox.Replayed, error)
	Drop(keys ...string) (outbox.Replayed, error)
}

// outboxView is the answer to GET /v1/outbox.
type outboxView struct {
	outbox.State
	List []outbox.Letter `json:"list"`
}

// maxKeys is how many bytes the list of keys of dead letters may have.
const maxKeys = 256 << 10

// outboxHandler answers for the outbox, or fails.
type outboxHandler func(w http.ResponseWriter, r *http.Request) error

// outbox makes a handler of the routes below /v1/outbox.
func (s *Server) outbox(h outboxHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Outbox == nil {
			s.noAnnotations(w)
			return
		}
		if err := h(w, r); err != nil {
			s.refuse(w, r, err)
		}
	}
}

// showOutbox answers GET /v1/outbox.
func (s *Server) showOutbox(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, typeJSON, http.StatusOK, outboxView{s.cfg.Outbox.State(), s.cfg.Outbox.Letters()})
	return nil
}

// retryOutbox answers POST /v1/outbox/retry.
func (s *Server) retryOutbox(w http.ResponseWriter, r *http.Request) error {
	keys, err := letterKeys(w, r)
	if err != nil {
		return err
	}
	done, err := s.cfg.Outbox.Retry(r.Context(), keys...)
	if err != nil {
		return wire.Errorf(wire.Overloaded, "%d dead letters were delivered, then: %s", done.Delivered, err)
	}
	writeJSON(w, typeJSON, http.StatusOK, done)
	return nil
}

// dropOutbox answers POST /v1/outbox/drop.
func (s *Server) dropOutbox(w http.ResponseWriter, r *http.Request) error {
	keys, err := letterKeys(w, r)
	if err != nil {
		return err
	}
	done, err := s.cfg.Outbox.Drop(keys...)
	if err != nil {
		return err
	}
	writeJSON(w, typeJSON, http.StatusOK, done)
	return nil
}

// letterKeys reads which dead letters are meant; none: all, but only if the request
// says so.
func letterKeys(w http.ResponseWriter, r *http.Request) ([]string, error) {
	var which struct {
		Keys []string `json:"keys"`
		All  bool     `json:"all"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxKeys)).Decode(&which)
	if err != nil || which.All == (len(which.Keys) > 0) {
		return nil, wire.Errorf(wire.BadMessage, `expected {"keys": ["…"]} or {"all": true}`)
	}
	return which.Keys, nil
}

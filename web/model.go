package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"detections/hub"
	"detections/session/wire"
)

// Models is what changes the version of the model on request.
type Models interface {
	// Check looks for another version now, and waits until it serves or is refused.
	// force deploys also one that was refused or rolled back before.
	Check(ctx context.Context, force bool) error
	// Use deploys a file that lies where the model does.
	Use(ctx context.Context, file string) error
	// Rollback goes back to the version before.
	Rollback(ctx context.Context) error
}

// modelRequest is the body of POST /v1/model; an empty one means: check now.
type modelRequest struct {
	File  string `json:"file"`
	Force bool   `json:"force"`
}

const maxModelRequest = 4 << 10

// modelView is how the engines are.
type modelView struct {
	AIAvailability hub.Availability     `json:"aiAvailability"`
	Percent        *wire.Decimal        `json:"percent,omitempty"`
	ETA            *wire.Millis         `json:"eta_ms,omitempty"`
	Reason         string               `json:"reason,omitempty"`
	Provider       string               `json:"provider,omitempty"`
	Precision      string               `json:"precision,omitempty"`
	Model          string               `json:"model,omitempty"`
	Providers      []hub.ProviderStatus `json:"providers,omitempty"`
	Upgrade        *stepView            `json:"upgrade,omitempty"`
	Update         *stepView            `json:"update,omitempty"`
	Source         *sourceView          `json:"source,omitempty"`
	Previous       string               `json:"previous,omitempty"`
	Kept           []string             `json:"kept,omitempty"`
}

// stepView is what is being made ready beside what serves.
type stepView struct {
	To      string           `json:"to"`
	Stage   hub.Availability `json:"stage,omitempty"`
	Percent *wire.Decimal    `json:"percent,omitempty"`
	ETA     *wire.Millis     `json:"eta_ms,omitempty"`
	Reason  string           `json:"reason,omitempty"`
}

// sourceView is how it goes with where the model comes from.
type sourceView struct {
	Name     string        `json:"name"`
	Phase    string        `json:"phase"`
	Percent  *wire.Decimal `json:"percent,omitempty"`
	ETA      *wire.Millis  `json:"eta_ms,omitempty"`
	Error    string        `json:"error,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Failures int           `json:"failures,omitempty"`
	Checked  time.Time     `json:"checked,omitzero"`
	Next     time.Time     `json:"next,omitzero"`
}

func percentOf(p float64) *wire.Decimal {
	if p < 0 {
		return nil
	}
	return new(wire.Decimal(p))
}

func etaOf(d time.Duration) *wire.Millis {
	if d <= 0 {
		return nil
	}
	return new(wire.Millis(d))
}

func viewOfStep(s *hub.Step) *stepView {
	if s == nil {
		return nil
	}
	return &stepView{To: s.To, Stage: s.Stage, Percent: percentOf(s.Percent), ETA: etaOf(s.ETA), Reason: s.Reason}
}

func viewOf(st hub.AIStatus) modelView {
	v := modelView{
		AIAvailability: st.Availability, Reason: st.Reason, Provider: st.Provider, Precision: st.Precision, Model: st.Model,
		Providers: st.Providers, Upgrade: viewOfStep(st.Upgrade), Update: viewOfStep(st.Update), Previous: st.Previous, Kept: st.Kept,
	}
	if st.Availability != hub.Enabled {
		v.Percent, v.ETA = percentOf(st.Percent), etaOf(st.ETA)
	}
	if s := st.Source; s != nil {
		v.Source = &sourceView{
			Name: s.Name, Phase: s.Phase, Percent: percentOf(s.Percent), ETA: etaOf(s.ETA), Error: s.Error, Reason: s.Reason,
			Failures: s.Failures, Checked: s.Checked, Next: s.Next,
		}
	}
	return v
}

// modelHandler changes the version of the model, or fails.
type modelHandler func(w http.ResponseWriter, r *http.Request) error

// model makes a handler of the routes below /v1/model.
func (s *Server) model(h modelHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Models == nil && r.Method != http.MethodGet {
			s.refuse(w, r, wire.Errorf(wire.Conflict, "this hub's model cannot be changed while it runs"))
			return
		}
		if err := h(w, r); err != nil {
			s.refuse(w, r, err)
			return
		}
		writeJSON(w, typeJSON, http.StatusOK, viewOf(s.hub.AI().Status()))
	}
}

func (s *Server) showModel(http.ResponseWriter, *http.Request) error { return nil }

// changeModel answers POST /v1/model.
func (s *Server) changeModel(w http.ResponseWriter, r *http.Request) error {
	var m modelRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxModelRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		return wire.Errorf(wire.BadMessage, `expected {"file": "people.onnx"}, {"force": true} or nothing: %s`, err)
	}
	if m.File != "" {
		return s.cfg.Models.Use(r.Context(), m.File)
	}
	return s.cfg.Models.Check(r.Context(), m.Force)
}

// rollBackModel answers POST /v1/model/rollback.
func (s *Server) rollBackModel(_ http.ResponseWriter, r *http.Request) error {
	return s.cfg.Models.Rollback(r.Context())
}

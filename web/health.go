package web

import (
	"net/http"

	"detections/hub/outbox"
	"detections/infer"
	"detections/media/worker/sandbox"
	"detections/session/wire"
)

type health struct {
	Status string `json:"status"`
	modelView
	Version  string `json:"version,omitempty"`
	Sessions *int   `json:"sessions,omitempty"`
	Draining bool   `json:"draining"`
	// Annotations is how deliveries go. They make no hub unready: they wait.
	Annotations *outbox.State `json:"annotations,omitempty"`
}

// health answers at once, whatever the engine does. Who may not read learns no more
// than what a probe needs.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ai := s.hub.AI().Status()
	h := health{Status: "healthy", modelView: modelView{AIAvailability: ai.Availability}, Draining: s.hub.IsDraining()}
	if !s.known(r) {
		writeJSON(w, typeJSON, http.StatusOK, h)
		return
	}
	h.modelView, h.Version, h.Sessions = viewOf(ai), s.cfg.Version, new(s.hub.Running())
	if s.cfg.Outbox != nil {
		h.Annotations = new(s.cfg.Outbox.State())
	}
	writeJSON(w, typeJSON, http.StatusOK, h)
}

// live says that the process answers: nothing that a restart could not mend.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, typeJSON, http.StatusOK, map[string]string{"status": "alive"})
}

type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"`
	// Sandbox is what decoder processes are in.
	Sandbox *sandbox.Report `json:"sandbox,omitempty"`
}

// ready says whether new work should be sent here.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	a := readiness{Reasons: append(s.hub.NotReady(), s.gate.notReady()...), Sandbox: s.cfg.Sandbox}
	a.Ready = len(a.Reasons) == 0
	status := http.StatusOK
	if !a.Ready {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", retryAfter)
	}
	if !s.known(r) {
		a.Reasons = nil // they name files and errors
	}
	writeJSON(w, typeJSON, status, a)
}

type classList struct {
	Model   string            `json:"model"`
	Classes []infer.ClassInfo `json:"classes"`
}

// classes lists what the model in force can detect.
func (s *Server) classes(w http.ResponseWriter, r *http.Request) {
	m := s.hub.AI().Model()
	if m == nil {
		s.refuse(w, r, wire.Errorf(wire.EngineUnavailable, "no model is loaded yet; GET /health says how far it is"))
		return
	}
	writeJSON(w, typeJSON, http.StatusOK, classList{Model: m.Ref(), Classes: m.ClassInfo()})
}

package web

import (
	"fmt"
	"net/http"
	"strconv"

	"detections/session/wire"
)

// problem is an RFC 9457 answer with the protocol's code.
type problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail"`
	Code   wire.Code `json:"code"`
}

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
)

// retryAfter is what clients are told in seconds when a refusal is temporary.
const retryAfter = "2"

// refuse answers with a problem.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e := wire.AsError(err)
	info := e.Code.Info()
	if e.Code == wire.Internal {
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	status := info.HTTP
	if status == 0 {
		status = http.StatusInternalServerError
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	writeJSON(w, typeProblem, status, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code,
	})
}

func writeJSON(w http.ResponseWriter, contentType string, status int, v any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	text := append(wire.Encode(v), '\n')
	w.Header().Set("Content-Length", strconv.Itoa(len(text))) // it is complete before the handler is
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may be gone
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, index, s.cfg.Version, r.Host) // the client may be gone
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, typeProblem, http.StatusNotFound, problem{
		Type: "about:blank", Title: "Not Found", Status: http.StatusNotFound, Code: wire.BadMessage,
		Detail: fmt.Sprintf("there is no %s %s; GET / lists what there is", r.Method, r.URL.Path),
	})
}

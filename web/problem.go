package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"detections/session/wire"
	"detections/web/auth"
	"detections/web/page"
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
	if e.Code == wire.Internal {
		s.log.Error("request failed", "method", r.Method, "path", auth.Redact(r.URL.Path), "err", err)
	}
	s.problem(w, cmp.Or(e.Code.Info().HTTP, http.StatusInternalServerError), e)
}

// problem answers with a status and a problem.
func (s *Server) problem(w http.ResponseWriter, status int, e *wire.Error) {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="detections"`)
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
	_, _ = newSteady(w).Write(text) //nolint:gosec // G705: JSON, and nosniff is set; the client may be gone
}

// index answers GET /: browsers get the page, others a list of what there is.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if page.Wanted(r) {
		s.page.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintf(w, index, s.cfg.Version, r.Host) //nolint:gosec // G705: plain text, and nosniff is set; the client may be gone
}

// noRoute answers what no other route takes: 405 if it is only the method.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		other := *r
		other.Method = method
		if _, pattern := mux.Handler(&other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	status, detail := http.StatusNotFound, fmt.Sprintf("there is no %.20s %.100s; GET / lists what there is", r.Method, r.URL.Path)
	if allow := strings.Join(allowed, ", "); allow != "" {
		w.Header().Set("Allow", allow)
		status, detail = http.StatusMethodNotAllowed, fmt.Sprintf("%.100s does not take %.20s; it takes %s", r.URL.Path, r.Method, allow)
	}
	writeJSON(w, typeProblem, status, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: wire.BadMessage, Detail: detail,
	})
}

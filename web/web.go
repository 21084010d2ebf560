// Package web is the HTTP face of the hub: routes, uploads, server-sent events,
// health and metrics.
//
// Every answer that is not a success is application/problem+json with a code of
// the table in session/wire. Every event on every route is the same JSON as on the
// WebSocket.
package web

import (
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"detections/hub"
	"detections/media/worker/sandbox"
	"detections/session/rtc"
	"detections/session/wire"
	"detections/session/ws"
	"detections/web/auth"
	"detections/web/page"
)

// Config is what a Server is made of.
type Config struct {
	Hub *hub.Hub
	// Hosts are names under which the hub may be reached, beside localhost and
	// addresses. Others are refused, because a page elsewhere can make a browser
	// look its own name up as this machine (DNS rebinding).
	Hosts []string
	// Origins are other sites whose pages may use the hub, as "https://example.org".
	Origins []string
	// Auth knows who asks; nil: authentication is off, and everybody is auth.Local.
	Auth *auth.Authenticator
	// Metrics is served at /metrics, to admins if there is authentication; nil: nothing is.
	Metrics *Metrics
	// Models changes the version of the model on request; nil: nobody does.
	Models Models
	// Outbox delivers to the Annotations service; nil: nothing does.
	Outbox Outbox
	// RTC takes live media over WebRTC; nil: nothing does.
	RTC *rtc.Server
	// Sandbox is what decoder processes are in, for /readyz; nil: nobody knows.
	Sandbox *sandbox.Report
	Version string
	Limits  Limits
	Logger  *slog.Logger
}

// Server is the HTTP face.
type Server struct {
	cfg     Config
	hub     *hub.Hub
	log     *slog.Logger
	origins *http.CrossOriginProtection
	sockets *ws.Handler
	gate    *gate
	callers counter // requests by principal
	page    *page.Page
	handler http.Handler
}

// New makes a Server.
func New(c Config) (*Server, error) {
	c.Limits = c.Limits.withDefaults()
	s := &Server{cfg: c, hub: c.Hub, log: c.Logger, origins: http.NewCrossOriginProtection()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.page, err = page.New(); err != nil {
		return nil, err
	}
	var patterns []string
	for _, o := range c.Origins {
		if err := s.origins.AddTrustedOrigin(o); err != nil {
			return nil, err
		}
		_, host, _ := strings.Cut(o, "://")
		patterns = append(patterns, host)
	}
	s.sockets = ws.New(ws.Config{
		Hub: c.Hub, Caller: caller, Refuse: s.refuse, Origins: patterns,
		Message: c.Hub.Limits().Message, Logger: c.Logger,
	})
	s.gate = newGate(c.Limits, s.log)
	if c.Metrics != nil {
		c.Metrics.watchGate(s.gate)
	}
	s.callers.most = c.Limits.PerPrincipal
	s.handler = s.guard(s.counted(s.routes()))
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.hub.IsDraining() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // the next request finds the next process
	}
	s.handler.ServeHTTP(w, r)
}

// Wait waits for the connections that http.Server.Shutdown does not know.
func (s *Server) Wait() { s.sockets.Wait() }

// counted is the mux, with its requests counted if there are metrics.
func (s *Server) counted(mux *http.ServeMux) http.Handler {
	if s.cfg.Metrics == nil {
		return mux
	}
	for _, r := range s.table() {
		s.cfg.Metrics.requests.exist(r.pattern)
	}
	return s.cfg.Metrics.requests.watch(mux)
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		mux.HandleFunc(r.pattern, s.allow(r.role, r.handler))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.noRoute(w, r, mux) })
	return mux
}

// table has every route; what is not open takes a role.
func (s *Server) table() []route {
	table := []route{
		{"GET /{$}", open, s.index},
		{"GET " + page.Prefix, open, s.page.ServeHTTP},
		{"GET " + page.Clients, open, s.page.ServeHTTP},
		{"GET " + page.Reference, open, s.page.ServeHTTP},
		{"GET " + page.OpenAPI, open, s.page.ServeHTTP},
		{"GET " + page.AsyncAPI, open, s.page.ServeHTTP},
		{"GET /health", open, s.health},
		{"GET /livez", open, s.live},
		{"GET /readyz", open, s.ready},
		{"GET /classes", auth.Read, s.classes},
		{"POST /detect", auth.Stream, s.detect},
		{"POST /detect/video", auth.Stream, s.video},
		{"PUT /detect/video", auth.Stream, s.video}, // what curl -T does unless told otherwise
		{"POST /detect/{media_id}", auth.Stream, s.fetch},
		{"GET /detect/stream", auth.Read, s.stream},
		{"GET " + socketPath, auth.Read, s.sockets.ServeHTTP}, // to watch; start and resume take more
		{"GET /v1/sessions", auth.Read, s.session(s.listSessions)},
		{"GET /v1/sessions/{id}", auth.Read, s.session(s.showSession)},
		{"DELETE /v1/sessions/{id}", auth.Stream, s.session(s.deleteSession)},
		{"POST /v1/sessions/{id}/cancel", auth.Stream, s.session(s.cancelSession)},
		{"GET /v1/sessions/{id}/results", auth.Read, s.session(s.results)},
		{"GET /v1/media/{id}", auth.Read, s.session(s.byMedia)},
		{"POST /v1/tickets", auth.Read, s.ticket},
		{"GET /v1/model", auth.Read, s.model(s.showModel)},
		{"POST /v1/model", auth.Admin, s.model(s.changeModel)},
		{"POST /v1/model/rollback", auth.Admin, s.model(s.rollBackModel)},
		{"GET /v1/outbox", auth.Admin, s.outbox(s.showOutbox)},
		{"POST /v1/outbox/retry", auth.Admin, s.outbox(s.retryOutbox)},
		{"POST /v1/outbox/drop", auth.Admin, s.outbox(s.dropOutbox)},
	}
	table = append(table, s.whipTable()...)
	if s.cfg.Metrics != nil {
		table = append(table, route{"GET /metrics", auth.Admin, s.cfg.Metrics.ServeHTTP})
	}
	return table
}

// guard refuses what a browser was tricked into asking.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer s.timed(w, r)()
		if !s.hostAllowed(r.Host) {
			s.refuse(w, r, wire.Errorf(wire.Forbidden, "this hub is not known as %.100q; add the name with --allowed-host", r.Host))
			return
		}
		if err := s.sameOrigin(r); err != nil {
			s.refuse(w, r, wire.Errorf(wire.Forbidden, "a page of %.100q may not use this hub; add the origin with --allowed-origin", r.Header.Get("Origin")))
			return
		}
		if s.share(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) hostAllowed(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	return strings.EqualFold(host, "localhost") || net.ParseIP(host) != nil ||
		slices.ContainsFunc(s.cfg.Hosts, func(known string) bool { return strings.EqualFold(known, host) })
}

// sameOrigin refuses requests from foreign pages that change something. An upgrade
// is a GET, but browsers let any page make one, so it counts as a change; so does the
// question before a change.
func (s *Server) sameOrigin(r *http.Request) error {
	if r.Header.Get("Upgrade") != "" || r.Header.Get("Access-Control-Request-Method") != "" {
		asChange := *r
		asChange.Method = http.MethodPost
		r = &asChange
	}
	return s.origins.Check(r)
}

const index = `detections %s

POST /detect         a picture (body or multipart "file"); answers with its detections
POST /detect/video   a video; detections are answered while it uploads (SSE, or NDJSON with Accept: application/x-ndjson)
POST /detect/{id}    media of the Annotations service: 202, and its detections are delivered
GET  /detect/stream  server-sent events of a session (?session=…, ?media=…) or of everything
GET  /v1/session     WebSocket, subprotocol detections.v1: bytes in, detections out
POST /v1/whip        WebRTC (WHIP): an SDP offer with video; detections on the data channel detections.v1
GET  /v1/sessions    running and kept sessions; /{id}, /{id}/results?format=csv
GET  /v1/media       /{sha256}: sessions with results for these bytes
GET  /v1/model       the model and its engines; POST: look for another version, POST /rollback
POST /v1/tickets     a ticket for a browser's WebSocket or event stream: ?ticket=…, once, within 30 s
GET  /v1/outbox      deliveries to the Annotations service; POST /retry, /drop {"keys": […]}
GET  /classes        what can be detected
GET  /reference      this in full; /openapi.json, /asyncapi.json
GET  /health         GET /livez   GET /readyz   GET /metrics

curl -T video.mp4 http://%s/detect/video
`

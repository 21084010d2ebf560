// Package outboxtest is an Annotations service for tests: it keeps what it is sent by
// key, holds its clients to the contract of docs/annotations.md, and fails on request
// in the ways in which real services do. It shares no code with the outbox.
package outboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is what goes wrong with one request.
type Fault int

// The faults.
const (
	None        Fault = iota
	Reset             // the connection breaks before anything is stored
	Error500          // 500 before anything is stored
	Unavailable       // 503 with Service.RetryAfter
	TooMany           // 429 with Service.RetryAfter
	Hang              // no answer, nothing stored
	StoreReset        // everything is stored, then the connection breaks
	StoreHang         // everything is stored, then there is no answer
	Store500          // everything is stored, then 500
	Slow              // a late but good answer
	Redirect          // to somewhere else
	NoRoute           // 404, as of a proxy in front
	Garbage           // 207 with what is no list of results
	faults
)

// Faults is how many there are, None among them.
const Faults = int(faults)

// Event is an event that was stored, and how it came.
type Event struct {
	Key, Session string
	Offset       uint64
	Type         string
	MediaID      string
	MediaSHA256  string
	Picture      *Picture // nil: none
	Body         string   // the event itself
	Times        int      // how often it was delivered
}

// Picture is an event's picture.
type Picture struct {
	Width, Height int
	JPEG          []byte
}

// Service is the service. Set its fields before it is used.
type Service struct {
	// Fault says what goes wrong with the n-th delivery, counted from 0; nil: nothing.
	Fault func(n int) Fault
	// Refuse gives the status with which an event is refused; 0 or nil: it is stored.
	Refuse func(e Event) int
	// Whole refuses whole requests that hold an event that is refused, instead of
	// storing the others and answering 207.
	Whole bool
	// Tokens are those that are accepted; nil: all, and none.
	Tokens func(token string) bool
	// RetryAfter is the header of Unavailable and TooMany; empty: none.
	RetryAfter string
	// SlowBy is how long Slow takes.
	SlowBy time.Duration
	// Cut says after how many bytes the connection of the n-th request for media breaks,
	// counted from 0; negative or nil: it does not.
	Cut func(n int) int
	// MediaFault says what goes wrong with the n-th request for media, counted from 0,
	// before a byte of it is sent; nil: nothing.
	MediaFault func(n int) Fault

	mu         sync.Mutex
	media      map[string]Media
	fetches    int
	deliveries []time.Time
	events     map[string]*Event
	order      map[string][]uint64        // by session, as first stored
	busy       map[string]context.Context // sessions with a request under way
	violations []string
}

type request struct {
	Session     string            `json:"session"`
	Epoch       string            `json:"epoch"`
	Principal   string            `json:"principal"`
	MediaID     string            `json:"media_id"`
	MediaName   string            `json:"media_name"`
	MediaSHA256 string            `json:"media_sha256"`
	Events      []json.RawMessage `json:"events"`
}

type outcome struct {
	Key    string `json:"key"`
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// ServeHTTP implements http.Handler: POST /annotations and GET /media/{id}.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/media/"); ok {
		s.serveMedia(w, r, id)
		return
	}
	if r.URL.Path != "/annotations" || r.Method != http.MethodPost {
		s.violation("%s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
		return
	}
	s.mu.Lock()
	n := len(s.deliveries)
	s.deliveries = append(s.deliveries, time.Now())
	s.mu.Unlock()
	if !s.known(w, r) {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); err != nil && !large {
		panic(http.ErrAbortHandler) // the client has left
	}
	fault := None
	if s.Fault != nil {
		fault = s.Fault(n)
	}
	if s.before(w, r, fault) {
		return
	}
	req, events, err := read(r.Header, body)
	if err != nil {
		s.violation("%v", err)
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	leave := s.enter(req.Session, r.Context())
	results := s.store(events)
	if fault != StoreHang {
		leave() // the answer may be there before this function has returned
	}
	s.after(w, r, fault, results)
}

// known refuses who has no good token.
func (s *Service) known(w http.ResponseWriter, r *http.Request) bool {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if s.Tokens == nil || s.Tokens(token) {
		return true
	}
	http.Error(w, "who are you?", http.StatusUnauthorized)
	return false
}

// before does what goes wrong before anything is stored, and says whether that was all.
func (s *Service) before(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f {
	case Reset:
		panic(http.ErrAbortHandler)
	case Hang:
		hang(r)
	case Error500:
		http.Error(w, `{"error":"out of order"}`, http.StatusInternalServerError)
	case Unavailable, TooMany:
		if s.RetryAfter != "" {
			w.Header().Set("Retry-After", s.RetryAfter)
		}
		w.WriteHeader(map[Fault]int{Unavailable: http.StatusServiceUnavailable, TooMany: http.StatusTooManyRequests}[f])
	case Redirect:
		http.Redirect(w, r, "/login", http.StatusFound)
	case NoRoute:
		http.NotFound(w, r)
	case Slow:
		select {
		case <-time.After(s.SlowBy):
			return false
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	default:
		return false
	}
	return true
}

func (s *Service) after(w http.ResponseWriter, r *http.Request, f Fault, results []outcome) {
	refused := slices.ContainsFunc(results, func(o outcome) bool { return o.Status >= 400 })
	switch {
	case f == StoreReset:
		panic(http.ErrAbortHandler)
	case f == StoreHang:
		hang(r)
	case f == Store500:
		w.WriteHeader(http.StatusInternalServerError)
	case f == Garbage:
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, "<html>")
	case refused && s.Whole:
		i := slices.IndexFunc(results, func(o outcome) bool { return o.Status >= 400 })
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(results[i].Status)
		_ = json.NewEncoder(w).Encode(map[string]string{"detail": results[i].Error})
	case refused:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusMultiStatus)
		_ = json.NewEncoder(w).Encode(map[string]any{"results": results})
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}

// hang answers nothing until the client gives up.
func hang(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// noticed is how long the service may take to see that a client has left.
const noticed = time.Second

// enter notes that a session has a request under way, as long as its client waits for
// the answer. More than one is a violation.
func (s *Service) enter(session string, asked context.Context) (leave func()) {
	asked, leave = context.WithCancel(asked)
	s.mu.Lock()
	before := s.busy[session]
	if s.busy == nil {
		s.busy = map[string]context.Context{}
	}
	s.busy[session] = asked
	s.mu.Unlock()
	if before == nil {
		return leave
	}
	select {
	case <-before.Done():
	case <-time.After(noticed):
		s.violation("two requests of session %s at once", session)
	}
	return leave
}

// MaxBody is how many bytes a body may have.
const MaxBody = 2 << 20

func read(h http.Header, body []byte) (request, []Event, error) {
	var req request
	if kind, _, _ := mime.ParseMediaType(h.Get("Content-Type")); kind != "application/json" {
		return req, nil, fmt.Errorf("the content type is %q", kind)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, nil, err
	}
	if req.Session == "" || len(req.Events) == 0 || len(req.Events) > 100 {
		return req, nil, fmt.Errorf("session %q with %d events", req.Session, len(req.Events))
	}
	events := make([]Event, len(req.Events))
	for i, body := range req.Events {
		e := Event{Session: req.Session, MediaID: req.MediaID, MediaSHA256: req.MediaSHA256, Body: string(body)}
		if err := json.Unmarshal(body, &e); err != nil {
			return req, nil, err
		}
		if p := e.Picture; p != nil {
			img, err := jpeg.DecodeConfig(bytes.NewReader(p.JPEG))
			if err != nil || img.Width != p.Width || img.Height != p.Height {
				return req, nil, fmt.Errorf("event %d has a picture of %d×%d that is %+v: %w", i, p.Width, p.Height, img, err)
			}
		}
		if e.Key == "" || e.Offset == 0 || i > 0 && e.Offset <= events[i-1].Offset {
			return req, nil, fmt.Errorf("event %d of the request has key %q and offset %d", i, e.Key, e.Offset)
		}
		events[i] = e
	}
	if k := h.Get("Idempotency-Key"); !strings.HasPrefix(k, events[0].Key) {
		return req, nil, fmt.Errorf("Idempotency-Key %q of a request that begins with %q", k, events[0].Key)
	}
	return req, events, nil
}

func (s *Service) store(events []Event) []outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		s.events, s.order = map[string]*Event{}, map[string][]uint64{}
	}
	results := make([]outcome, len(events))
	bad := false
	for i, e := range events {
		results[i] = outcome{Key: e.Key, Status: http.StatusCreated}
		if s.Refuse != nil {
			if status := s.Refuse(e); status != 0 {
				results[i].Status, results[i].Error, bad = status, "this event is not welcome", true
			}
		}
	}
	for i, e := range events {
		if results[i].Status >= 400 || bad && s.Whole {
			continue
		}
		if known := s.events[e.Key]; known != nil {
			if known.Body != e.Body {
				s.violations = append(s.violations, fmt.Sprintf("key %s with %s and with %s", e.Key, known.Body, e.Body))
			}
			known.Times++
			continue
		}
		e.Times = 1
		s.events[e.Key] = &e
		s.order[e.Session] = append(s.order[e.Session], e.Offset)
	}
	return results
}

func (s *Service) violation(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// Violations are where clients did not keep to the contract.
func (s *Service) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Deliveries are when deliveries arrived, whatever became of them.
func (s *Service) Deliveries() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// Events are what is stored of a session, by offset.
func (s *Service) Events(session string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Event
	for e := range maps.Values(s.events) {
		if e.Session == session {
			all = append(all, *e)
		}
	}
	slices.SortFunc(all, func(a, b Event) int { return int(a.Offset) - int(b.Offset) })
	return all
}

// Order are the offsets of a session's events in the order in which they were stored.
func (s *Service) Order(session string) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order[session])
}

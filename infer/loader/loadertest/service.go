// Package loadertest is a Loader service for tests and for trying things out: it gives
// models by the contract of docs/loader.md, and fails on request in the ways in which
// real services do. It shares no code with the loader.
package loadertest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Fault is what goes wrong with one request for a model.
type Fault int

// The faults.
const (
	None        Fault = iota
	Reset             // the connection breaks before an answer
	Error500          // 500
	Unavailable       // 503 with Service.RetryAfter
	Gone              // 404
	Denied            // 403
	Hang              // no answer
	Cut               // the connection breaks after Service.CutAfter bytes of the body
	Stall             // nothing comes after as many
	Drip              // the body comes in pieces of as many, Service.DripEvery apart
	Damage            // a byte of the body is another
	Short             // the body and its length lack the last byte
	WrongSum          // the SHA-256 is of something else
	NoSum             // there is no SHA-256
	NoRange           // ranges are ignored
	NoETag            // there is no ETag, nor ranges
	OtherRange        // 206 with another range than was asked for
	Page              // 200 with a page that asks to log in
	faults
)

// Faults is how many there are, None among them.
const Faults = int(faults)

var names = [...]string{
	"none", "reset", "500", "503", "404", "403", "hang", "cut", "stall", "drip", "damage", "short",
	"wrong-sum", "no-sum", "no-range", "no-etag", "other-range", "page",
}

// String is the name of the fault.
func (f Fault) String() string { return names[f] }

// ParseFault finds a fault by its name.
func ParseFault(name string) (Fault, error) {
	if i := slices.Index(names[:], name); i >= 0 {
		return Fault(i), nil
	}
	return None, fmt.Errorf("expected one of %s, got %q", strings.Join(names[:], " "), name)
}

// Sum is where the SHA-256 of a model is given.
type Sum int

// The places.
const (
	InHeader  Sum = iota // X-Checksum-Sha256
	InDigest             // Repr-Digest
	InSidecar            // name.sha256
)

// Model is what is given under a name.
type Model struct {
	Bytes       []byte
	Version     string // X-Model-Version; empty: none
	Description string // name.json; empty: 404
	Golden      string // name.golden.json; empty: 404
}

// Request is a request as it came.
type Request struct {
	Path, Range, IfRange, IfNoneMatch string
	Status                            int
	Bytes                             int64 // of the answer's body
}

// Service is the service. Set its fields before it is used.
type Service struct {
	// Fault says what goes wrong with the n-th request for a model, counted from 0; nil:
	// nothing.
	Fault func(n int) Fault
	// Sum is where the SHA-256 is.
	Sum Sum
	// CutAfter is for Cut, Stall and Drip; 0: half of the model.
	CutAfter  int64
	DripEvery time.Duration
	// RetryAfter is the header of Unavailable; empty: none.
	RetryAfter string
	// Pictures are given under their paths beside the models, such as golden/street.jpg.
	Pictures map[string][]byte
	// Tokens are those that are accepted; nil: all, and none.
	Tokens func(token string) bool

	mu         sync.Mutex
	models     map[string]Model
	asked      int // for models
	requests   []*Request
	violations []string
}

// Put gives a model under a name.
func (s *Service) Put(name string, m Model) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.models == nil {
		s.models = map[string]Model{}
	}
	s.models[name] = m
}

// Requests are those that came, in order.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.requests))
	for i, r := range s.requests {
		all[i] = *r
	}
	return all
}

// Violations are where clients did not keep to the contract.
func (s *Service) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// ServeHTTP implements http.Handler: GET /models/{name}, {name}.json, {name}.golden.json,
// {name}.sha256, and pictures.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	note := &Request{Path: r.URL.Path, Range: r.Header.Get("Range"), IfRange: r.Header.Get("If-Range"), IfNoneMatch: r.Header.Get("If-None-Match")}
	folder, file := path.Split(r.URL.Path)
	ext := ""
	for _, e := range []string{".sha256", ".json", ".golden.json"} {
		if strings.HasSuffix(file, e) {
			ext = e
		}
	}
	s.mu.Lock()
	picture, isPicture := s.Pictures[strings.TrimPrefix(r.URL.Path, "/models/")]
	s.requests = append(s.requests, note)
	m, ok := s.models[strings.TrimSuffix(file, ext)]
	n := s.asked
	if ext == "" && !isPicture {
		s.asked++
	}
	switch {
	case r.Method != http.MethodGet:
		s.violations = append(s.violations, r.Method+" "+r.URL.Path)
	case note.Range != "" && note.IfRange == "":
		s.violations = append(s.violations, "Range without If-Range, which may give the end of another version")
	case r.Header.Get("Accept-Encoding") != "identity":
		s.violations = append(s.violations, "a model may come compressed: Accept-Encoding is "+r.Header.Get("Accept-Encoding"))
	}
	s.mu.Unlock()
	c := &counter{ResponseWriter: w, s: s, note: note}
	switch token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); {
	case s.Tokens != nil && !s.Tokens(token):
		http.Error(c, "who are you?", http.StatusUnauthorized)
	case isPicture:
		http.ServeContent(c, r, "", time.Time{}, bytes.NewReader(picture))
	case !ok || folder != "/models/":
		http.NotFound(c, r)
	case ext == ".json":
		beside(c, r, m.Description)
	case ext == ".golden.json":
		beside(c, r, m.Golden)
	case ext == ".sha256" && s.Sum == InSidecar:
		fmt.Fprintf(c, "%s  %s\n", sum(m.Bytes), strings.TrimSuffix(file, ext)) //nolint:gosec // G705: plain text
	case ext == ".sha256":
		http.NotFound(c, r)
	default:
		fault := None
		if s.Fault != nil {
			fault = s.Fault(n)
		}
		s.model(c, r, m, fault)
	}
}

// beside gives a small file beside a model, if there is one.
func beside(w http.ResponseWriter, r *http.Request, text string) {
	if text == "" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", strconv.Quote(sum([]byte(text))[:16]))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
}

func sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// model gives the model, or does what goes wrong.
func (s *Service) model(w *counter, r *http.Request, m Model, f Fault) {
	if s.refuse(w, r, f) {
		return
	}
	h, of := w.Header(), m.Bytes
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", strconv.Quote(sum(m.Bytes)[:16]))
	if m.Version != "" {
		h.Set("X-Model-Version", m.Version)
	}
	if f == WrongSum {
		of = []byte("something else")
	}
	switch digest := sha256.Sum256(of); {
	case f == NoSum || s.Sum == InSidecar:
	case s.Sum == InDigest:
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
	default:
		h.Set("X-Checksum-Sha256", sum(of))
	}
	body := m.Bytes
	switch f {
	case Damage:
		body = bytes.Clone(body)
		body[len(body)/2] ^= 1
	case Short:
		body = body[:len(body)-1]
	case NoRange:
		r.Header.Del("Range")
	case NoETag:
		h.Del("ETag")
		r.Header.Del("Range")
	case OtherRange:
		if r.Header.Get("Range") != "" {
			r.Header.Set("Range", "bytes=0-")
		}
	case Cut, Stall, Drip:
		w.fault, w.after, w.every, w.gone = f, s.CutAfter, s.DripEvery, r
		if w.after == 0 {
			w.after = int64(len(body)) / 2
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// refuse does what goes wrong before anything is sent, and says whether that was all.
func (s *Service) refuse(w http.ResponseWriter, r *http.Request, f Fault) bool {
	switch f {
	case Reset:
		panic(http.ErrAbortHandler)
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Error500:
		http.Error(w, "out of order", http.StatusInternalServerError)
	case Unavailable:
		if s.RetryAfter != "" {
			w.Header().Set("Retry-After", s.RetryAfter)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	case Gone:
		http.NotFound(w, r)
	case Denied:
		http.Error(w, "not yours", http.StatusForbidden)
	case Page:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>Please log in.</html>")
	default:
		return false
	}
	return true
}

// counter counts what is sent, and does what goes wrong within a body.
type counter struct {
	http.ResponseWriter
	s     *Service
	note  *Request
	fault Fault
	after int64 // bytes of the body
	every time.Duration
	gone  *http.Request
	sent  int64
}

// WriteHeader implements http.ResponseWriter.
func (c *counter) WriteHeader(status int) {
	c.s.mu.Lock()
	c.note.Status = status
	c.s.mu.Unlock()
	c.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (c *counter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		piece := p
		if c.fault != None {
			piece = p[:min(int64(len(p)), c.after-c.sent%c.after)]
		}
		k, err := c.ResponseWriter.Write(piece)
		c.count(int64(k))
		if err != nil {
			return n - len(p) + k, err
		}
		if p = p[k:]; c.fault != None && c.sent%c.after == 0 {
			c.fail()
		}
	}
	return n, nil
}

func (c *counter) count(n int64) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.sent += n; c.note.Status == 0 {
		c.note.Status = http.StatusOK
	}
	c.note.Bytes = c.sent
}

// fail does what goes wrong after so many bytes.
func (c *counter) fail() {
	_ = http.NewResponseController(c.ResponseWriter).Flush() // they are to arrive
	var late <-chan time.Time
	switch c.fault {
	case Cut:
		panic(http.ErrAbortHandler)
	case Drip:
		t := time.NewTimer(c.every)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-late:
	case <-c.gone.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

package web

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// socketPath is where WebSockets are.
const socketPath = "/v1/session"

// timed sets the times of a request. What is left of an earlier one on the same
// connection does not count; the end of an answer must leave in Limits.Write.
func (s *Server) timed(w http.ResponseWriter, r *http.Request) (end func()) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{}) // not every transport has deadlines
	if r.URL.Path == socketPath {        // may be a WebSocket when this has returned, and then has no deadlines
		_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.Limits.Write))
		return func() {}
	}
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(time.Now().Add(s.cfg.Limits.Body))
	}
	return func() { _ = rc.SetWriteDeadline(time.Now().Add(s.cfg.Limits.Write)) }
}

// paced is the body of an upload, which must bring so many bytes in so much time of
// waiting for it. The time that the hub takes does not count: a video may be sent at its
// own rate, and a hub that is behind may let it wait.
type paced struct {
	io.ReadCloser
	rc     *http.ResponseController
	least  int64         // bytes in a window
	window time.Duration // of waiting

	got  int64         // owned by Read: in this window
	left time.Duration // owned by Read: of this window

	mu      sync.Mutex
	hurried bool // guarded by mu: the time is set for good
}

// pace makes a request's body a paced one.
func (s *Server) pace(w http.ResponseWriter, r *http.Request) *paced {
	l := s.cfg.Limits
	p := &paced{
		ReadCloser: r.Body, rc: http.NewResponseController(w), window: l.Window, left: l.Window,
		least: max(1, int64(float64(l.UploadRate)*l.Window.Seconds())),
	}
	r.Body = p
	return p
}

// Read implements io.Reader.
func (p *paced) Read(b []byte) (int, error) {
	begun := time.Now()
	p.until(begun.Add(p.left))
	n, err := p.ReadCloser.Read(b)
	p.left -= time.Since(begun)
	if p.got += int64(n); p.got >= p.least {
		p.got, p.left = 0, p.window
	}
	if errors.Is(err, io.EOF) {
		p.until(time.Time{}) // from now on it is only looked whether the client is there
	}
	return n, err
}

func (p *paced) until(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hurried {
		_ = p.rc.SetReadDeadline(t) // not every transport has deadlines
	}
}

// hurry gives what is left of the body so much time.
func (p *paced) hurry(d time.Duration) {
	p.until(time.Now().Add(d))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurried = true
}

// steady writes an answer that may be long: the client must take each piece in time.
type steady struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func newSteady(w http.ResponseWriter) steady { return steady{w, http.NewResponseController(w)} }

// piece is how many bytes must leave in writeTime.
const piece = 32 << 10

// Write implements io.Writer.
func (s steady) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		_ = s.rc.SetWriteDeadline(time.Now().Add(writeTime)) // not every transport has deadlines
		var m int
		m, err = s.ResponseWriter.Write(p[:min(len(p), piece)]) //nolint:gosec // G705: JSON or CSV, and nosniff is set
		n, p = n+m, p[m:]
	}
	return n, err
}

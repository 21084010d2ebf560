package outboxtest

import (
	"bytes"
	"mime"
	"net/http"
	"time"
)

// Media is a media item of the service.
type Media struct {
	Name string
	ETag string // with its quotes; empty: none
	Body []byte
	// Whole: ranges are not offered.
	Whole bool
}

// PutMedia adds a media item, or replaces one.
func (s *Service) PutMedia(id string, m Media) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.media == nil {
		s.media = map[string]Media{}
	}
	s.media[id] = m
}

// Fetches is how many requests for media there were.
func (s *Service) Fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func (s *Service) serveMedia(w http.ResponseWriter, r *http.Request, id string) {
	s.mu.Lock()
	n := s.fetches
	s.fetches++
	m, ok := s.media[id]
	s.mu.Unlock()
	if !s.known(w, r) || s.MediaFault != nil && s.before(w, r, s.MediaFault(n)) {
		return
	}
	if !ok || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": m.Name}))
	h.Set("Content-Type", "video/mp4")
	if m.ETag != "" {
		h.Set("ETag", m.ETag)
	}
	if m.Whole {
		r.Header.Del("Range")
	}
	left := -1
	if s.Cut != nil {
		left = s.Cut(n)
	}
	http.ServeContent(&cut{w, left}, r, "", time.Time{}, bytes.NewReader(m.Body))
}

// cut breaks the connection after so many bytes.
type cut struct {
	http.ResponseWriter
	left int // negative: never
}

// Write implements io.Writer.
func (c *cut) Write(p []byte) (int, error) {
	if c.left < 0 {
		return c.ResponseWriter.Write(p)
	}
	n, err := c.ResponseWriter.Write(p[:min(c.left, len(p))])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// What Fetch and reading a Media refuse, beside what the network gives.
var (
	// ErrNoMedia: there is no such media item.
	ErrNoMedia = errors.New("the Annotations service has no such media")
	// ErrMediaForbidden: the token, or its absence, gives no right to it.
	ErrMediaForbidden = errors.New("the Annotations service does not give this media to the hub")
	// ErrMediaChanged: it is not the media any more whose beginning was read.
	ErrMediaChanged = errors.New("the media changed at the Annotations service while it was read")
	// ErrMediaBroken: it could not be read to its end; the part that was read is good.
	ErrMediaBroken = errors.New("the media cannot be fetched from the Annotations service")
)

// Media is the bytes of a media item. It goes on by itself, with a new request, when a
// connection breaks. It belongs to one goroutine.
type Media struct {
	// Static after Fetch.
	Name string // as the service calls it; may be empty
	Type string // its media type; may be empty
	Size int64  // of all of it, in bytes; -1: not known
	ETag string // to go on with it in another Fetch; may be empty

	service *Annotations
	ctx     context.Context //nolint:containedctx // a reader has no other way to get it
	cancel  context.CancelFunc
	id      string
	pos     int64
	body    io.ReadCloser // nil: the connection broke
	tries   int           // in a row that brought no byte
	lost    error         // why the last of them ended
	pause   *time.Timer   // ends a connection that brings no bytes
	err     error
}

// fetchTries is how often in a row a fetch may bring no byte, and fetchBackoff how long
// it waits in between.
const fetchTries = 6

var fetchBackoff = Backoff{Min: 250 * time.Millisecond, Max: 5 * time.Second}

// Fetch begins to read a media item at a byte, until ctx ends or the Media is closed.
// etag is that of the part before, so that a media item that changed in between is
// ErrMediaChanged; empty: unknown. Of a service without entity tags only the size can
// tell. Other errors: ErrNoMedia, ErrMediaForbidden,
// ErrMediaBroken.
func (a *Annotations) Fetch(ctx context.Context, id string, from int64, etag string) (*Media, error) {
	if id == "" || id == "." || id == ".." {
		return nil, fmt.Errorf("%w: %q is no id", ErrNoMedia, id)
	}
	m := &Media{service: a, id: id, pos: from, Size: -1, ETag: etag}
	m.ctx, m.cancel = context.WithCancel(ctx)
	if err := m.open(true); err != nil {
		m.cancel()
		return nil, err
	}
	return m, nil
}

// Read implements io.Reader.
func (m *Media) Read(p []byte) (int, error) {
	for m.err == nil {
		if m.body == nil {
			if m.pos == m.Size {
				m.err = io.EOF
				break
			}
			if m.err = m.open(false); m.err != nil {
				break
			}
		}
		m.pause.Reset(m.service.timeout)
		n, err := m.body.Read(p)
		m.pause.Stop()
		m.pos += int64(n)
		if n > 0 {
			m.tries = 0
		}
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF) && (m.Size < 0 || m.pos == m.Size):
			m.err = io.EOF
		default:
			m.lost = err
			m.lose()
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, m.err
}

// Close implements io.Closer.
func (m *Media) Close() error {
	m.lose()
	m.cancel()
	m.err = cmp.Or(m.err, errors.New("media: read after close"))
	return nil
}

func (m *Media) lose() {
	if m.body != nil {
		_ = m.body.Close()
		m.body = nil
	}
}

// open makes a connection that goes on at pos, trying several times.
func (m *Media) open(first bool) error {
	for m.tries < fetchTries {
		if m.tries++; m.tries > 1 {
			select {
			case <-time.After(fetchBackoff.delay(m.tries - 1)):
			case <-m.ctx.Done():
			}
		}
		again, err := m.request(first)
		switch {
		case err == nil:
			return nil
		case m.ctx.Err() != nil:
			return context.Cause(m.ctx)
		case !again:
			return err
		}
		m.lost = err
	}
	return fmt.Errorf("%w: %w, %d times in a row at byte %d", ErrMediaBroken, m.lost, m.tries, m.pos)
}

// request makes one GET, and says whether another one may do better if it fails.
func (m *Media) request(first bool) (again bool, err error) {
	ctx, cancel := context.WithCancelCause(m.ctx)
	m.pause = time.AfterFunc(m.service.timeout, func() {
		cancel(fmt.Errorf("no bytes for %v", m.service.timeout))
	})
	defer m.pause.Stop()
	res, err := m.service.authorized(ctx, m.service.http, func() (*http.Request, error) {
		target := strings.TrimSuffix(m.service.base.String(), "/") + "/media/" + url.PathEscape(m.id)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err == nil {
			r.Header.Set("Accept-Encoding", "identity") // ranges are of the bytes themselves
			m.ask(r.Header)
		}
		return r, err
	})
	if err != nil {
		defer cancel(nil)
		return true, why(ctx, err)
	}
	if again, err = m.accept(res, first); err != nil {
		_ = res.Body.Close()
		cancel(nil)
		return again, err
	}
	m.body = &connection{res.Body, cancel}
	return false, nil
}

// ask says from where on, and of which version of the media.
func (m *Media) ask(h http.Header) {
	if m.pos == 0 {
		return
	}
	h.Set("Range", fmt.Sprintf("bytes=%d-", m.pos))
	if strings.HasPrefix(m.ETag, `"`) { // a weak one may not be used for this
		h.Set("If-Range", m.ETag)
	}
}

// accept checks that an answer goes on where the media was left.
func (m *Media) accept(res *http.Response, first bool) (again bool, err error) {
	etag := res.Header.Get("ETag")
	changed := m.ETag != "" && etag != m.ETag
	var size, at int64 = res.ContentLength, 0
	switch code := res.StatusCode; {
	case code == http.StatusOK:
		// If more than that was asked for, the service has no ranges, or the media is
		// another.
	case code == http.StatusPartialContent:
		at, size = contentRange(res.Header.Get("Content-Range"))
		if at != m.pos {
			return false, fmt.Errorf("%w: asked for bytes from %d, got %q", ErrMediaBroken, m.pos, res.Header.Get("Content-Range"))
		}
	case code == http.StatusRequestedRangeNotSatisfiable:
		if res.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", m.pos) { // all was read
			m.Size = m.pos
			_ = res.Body.Close() // says so in words
			res.Body = http.NoBody
			return false, nil
		}
		return false, fmt.Errorf("%w: it has no byte %d any more", ErrMediaChanged, m.pos)
	case code == http.StatusNotFound || code == http.StatusGone:
		return false, ErrNoMedia
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return false, fmt.Errorf("%w: %s", ErrMediaForbidden, res.Status)
	default:
		err := fmt.Errorf("the Annotations service answers %s", res.Status)
		if meaningOf(code) == later {
			return true, err
		}
		return false, fmt.Errorf("%w: %w", ErrMediaBroken, err)
	}
	if changed || !first && m.Size >= 0 && size >= 0 && size != m.Size {
		return false, ErrMediaChanged
	}
	if first {
		m.ETag, m.Size, m.Type = etag, size, res.Header.Get("Content-Type")
		if _, params, err := mime.ParseMediaType(res.Header.Get("Content-Disposition")); err == nil {
			m.Name = params["filename"]
		}
	}
	return m.skip(res, at)
}

// skip passes what was read already, where the service has no ranges.
func (m *Media) skip(res *http.Response, at int64) (again bool, err error) {
	for at < m.pos {
		m.pause.Reset(m.service.timeout)
		n, err := io.CopyN(io.Discard, res.Body, min(m.pos-at, 1<<20))
		if at += n; err != nil {
			return true, err
		}
	}
	return false, nil
}

// contentRange reads "bytes 5-9/10": where it begins, and the size of all, -1 if unknown.
func contentRange(header string) (at, size int64) {
	text, ok := strings.CutPrefix(header, "bytes ")
	span, total, _ := strings.Cut(text, "/")
	first, _, _ := strings.Cut(span, "-")
	at, err := strconv.ParseInt(first, 10, 64)
	if !ok || err != nil {
		return -1, -1
	}
	if size, err = strconv.ParseInt(total, 10, 64); err != nil {
		size = -1
	}
	return at, size
}

// connection is a body that ends its request's context when it is closed.
type connection struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (c *connection) Close() error {
	defer c.cancel(nil)
	return c.ReadCloser.Close()
}

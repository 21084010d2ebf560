package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"detections/session/wire"
)

// Errors beside the hub's own, which are *wire.Error.
var (
	// ErrUnreachable: no connection to the hub, or none any more for Config.Patience.
	ErrUnreachable = errors.New("the hub cannot be reached")
	// ErrNotAHub: something answers there, but it does not speak this protocol.
	ErrNotAHub = errors.New("not a Detections hub, or one that is too old or too new")
	// ErrCancelled: somebody else stopped the session; what was found until then was yielded.
	ErrCancelled = errors.New("the session was cancelled")
	// ErrMedia wraps what reading the media gave.
	ErrMedia = errors.New("read media")
)

// Config is what a Client is made of. Zero values take the defaults.
type Config struct {
	// URL is where the hub is: http, https, ws or wss, with the path under which a
	// proxy serves it; without a scheme: http.
	URL string
	// HTTP makes all requests; default http.DefaultClient. It must have no Timeout,
	// which would end sessions too.
	HTTP *http.Client
	// Token gives the bearer token for a hub that wants to know who asks. It is called
	// for every connection and request, so a token may be replaced. nil: none.
	Token func() (string, error)
	// Buffer is how many unacknowledged bytes of the media are kept at most; default
	// 4 MiB, and never more than the hub's window.
	Buffer int64
	// Patience is how long the hub may be away in one go; default 2 min.
	Patience time.Duration
	// Heartbeat is how often the hub is asked for a sign of life; a connection on which
	// three heartbeats bring nothing is given up. Default 10 s.
	Heartbeat time.Duration
	// Delay is the longest wait before the first attempt to reconnect, which doubles
	// with each up to MaxDelay; each wait is random. Defaults 500 ms and 15 s.
	Delay, MaxDelay time.Duration
	Logger          *slog.Logger
}

// Client talks to one hub. It can be used from any goroutine.
type Client struct {
	cfg  Config
	base *url.URL
	log  *slog.Logger
}

// New makes a Client; it does not connect.
func New(c Config) (*Client, error) {
	text := c.URL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("hub %q: %w", c.URL, err)
	}
	scheme, ok := map[string]string{"http": "http", "https": "https", "ws": "http", "wss": "https"}[u.Scheme]
	if !ok || u.Host == "" {
		return nil, fmt.Errorf("hub %q: expected a URL such as http://127.0.0.1:8080", c.URL)
	}
	u.Scheme = scheme
	c.HTTP = cmp.Or(c.HTTP, http.DefaultClient)
	c.Buffer = cmp.Or(c.Buffer, 4<<20)
	c.Patience = cmp.Or(c.Patience, 2*time.Minute)
	c.Heartbeat = cmp.Or(c.Heartbeat, 10*time.Second)
	c.Delay = cmp.Or(c.Delay, 500*time.Millisecond)
	c.MaxDelay = cmp.Or(c.MaxDelay, 15*time.Second)
	cl := &Client{cfg: c, base: u, log: c.Logger}
	if cl.log == nil {
		cl.log = slog.New(slog.DiscardHandler)
	}
	return cl, nil
}

// URL is where the hub is.
func (c *Client) URL() string { return c.base.String() }

// header is what goes with every request.
func (c *Client) header() (http.Header, error) {
	h := http.Header{}
	if c.cfg.Token == nil {
		return h, nil
	}
	token, err := c.cfg.Token()
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}

func (c *Client) url(path string) string { return c.base.JoinPath(path).String() }

// Detect starts a session and sends it the media, which is read to its end and
// then closed if it is an io.Closer. It returns when the hub has accepted the
// session. start.Key makes it possible to come back to the session with another
// Detect: bytes that the hub has already are then skipped. Without one, a random
// key makes sure that a retried start does not begin two sessions.
//
// When ctx ends, the hub is told to stop; the events up to its end event are still
// yielded, for ten seconds at most.
//
// The hub not being there is an error at once (ErrUnreachable); a hub that is busy
// for the moment is asked again for Config.Patience.
func (c *Client) Detect(ctx context.Context, media io.Reader, start wire.Start) (*Session, error) {
	if err := start.Validate(); err != nil {
		return nil, wire.Errorf(wire.BadMessage, "%s", err)
	}
	if start.Key == "" {
		start.Key = rand.Text()
	}
	s := newSession(c, ctx, media, start)
	first, err := s.open()
	if err != nil {
		s.abandon()
		return nil, err
	}
	go s.run(first)
	return s, nil
}

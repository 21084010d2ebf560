package outbox

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ServiceConfig says where the Annotations service is. Zero values take the defaults.
type ServiceConfig struct {
	// URL is http or https, with the path under which the service is; its routes are
	// URL/annotations and URL/media/{id}.
	URL string
	// Tokens authenticate every request; nil: none is sent.
	Tokens Tokens
	// HTTP makes the requests; default: one of its own. It must have no Timeout, which
	// would cut long media off.
	HTTP *http.Client
	// Timeout is for one delivery from the first byte to the last, and for each wait
	// for bytes of a media item; default 10 s.
	Timeout time.Duration
}

// Annotations is a client of the Annotations service. It can be used from any
// goroutine.
type Annotations struct {
	base    *url.URL
	tokens  Tokens
	http    *http.Client
	post    *http.Client // does not follow redirects
	timeout time.Duration
}

// NewAnnotations makes an Annotations; it does not connect.
func NewAnnotations(c ServiceConfig) (*Annotations, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("annotations service: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("annotations service %q: expected a URL such as https://annotations.example.org/api", u.Redacted())
	}
	a := &Annotations{base: u, tokens: c.Tokens, http: c.HTTP, timeout: cmp.Or(c.Timeout, 10*time.Second)}
	if a.tokens == nil {
		a.tokens = StaticToken("")
	}
	if a.http == nil {
		a.http = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: min(2*time.Second, a.timeout)}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   a.timeout,
			ResponseHeaderTimeout: a.timeout,
		}}
	}
	post := *a.http
	post.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a.post = &post
	return a, nil
}

// URL is where the service is.
func (a *Annotations) URL() string { return a.base.String() }

// authorized makes a request with a token, and once more with a new one if that is
// refused.
func (a *Annotations) authorized(ctx context.Context, c *http.Client, build func() (*http.Request, error)) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		token, err := a.tokens.Token(ctx)
		if err != nil {
			return nil, err
		}
		r, err := build()
		if err != nil {
			return nil, err
		}
		r.Header.Set("User-Agent", "detections")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := c.Do(r) //nolint:gosec // G704: the operator names the service
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusUnauthorized || token == "" || attempt > 0 {
			return answer, nil
		}
		_ = answer.Body.Close()
		a.tokens.Refused(token)
	}
}

// meaning is what a status means for the events it is about.
type meaning int

const (
	stored meaning = iota
	// later: the service cannot take them now.
	later
	// doubtful: it is about the events, or about something on the way to the service,
	// such as a wrong URL or a missing right.
	doubtful
	refused
)

func meaningOf(status int) meaning {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired, http.StatusRequestTimeout,
		http.StatusTooEarly, http.StatusTooManyRequests:
		return later
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict:
		return doubtful
	}
	switch status / 100 {
	case 2:
		return stored
	case 4:
		return refused
	default:
		return later
	}
}

// answer is what the service said to a delivery.
type answer struct {
	meaning
	status int
	reason string
	hold   time.Duration     // how long it wants to be left alone
	events map[string]result // those that were not stored, if others were
}

// result is what the service said to one event.
type result struct {
	Key    string `json:"key"`
	Status int    `json:"status"`
	Error  string `json:"error"`
}

// Limits of what is read of an answer.
const (
	maxAnswer = 256 << 10 // bytes
	maxReason = 300       // bytes of what is kept as a reason
	maxHold   = 10 * time.Minute
)

// deliver makes one POST /annotations. An error means that there is no answer, and
// the events may be stored or not.
func (a *Annotations) deliver(ctx context.Context, key string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("no answer within %v", a.timeout))
	defer cancel()
	res, err := a.authorized(ctx, a.post, func() (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base.JoinPath("annotations").String(), bytes.NewReader(body))
		if err == nil {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Idempotency-Key", key)
		}
		return r, err
	})
	if err != nil {
		return answer{}, why(ctx, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, why(ctx, err)
	}
	if len(text) > maxAnswer {
		return answer{}, fmt.Errorf("%s with more than %d bytes", res.Status, maxAnswer)
	}
	return understand(res, text)
}

// why is the cause if the context ended, else err.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err // without the URL, which is known
	}
	return err
}

func understand(res *http.Response, text []byte) (answer, error) {
	an := answer{meaning: meaningOf(res.StatusCode), status: res.StatusCode}
	if an.meaning != stored {
		an.reason, an.hold = reasonOf(res.Status, text), retryAfter(res.Header.Get("Retry-After"))
		return an, nil
	}
	var body struct {
		Results []result `json:"results"`
	}
	if err := json.Unmarshal(text, &body); err != nil && res.StatusCode == http.StatusMultiStatus {
		return answer{}, fmt.Errorf("%s without a list of results: %w", res.Status, err)
	}
	an.events = map[string]result{}
	for _, r := range body.Results {
		if meaningOf(cmp.Or(r.Status, http.StatusOK)) != stored {
			r.Error = clean(cmp.Or(r.Error, http.StatusText(r.Status)))
			an.events[r.Key] = r
		}
	}
	return an, nil
}

// reasonOf is what an answer gives as its reason: the words of a problem or an error
// in JSON, else the beginning of the text, else the status.
func reasonOf(status string, text []byte) string {
	var said struct{ Detail, Message, Error, Title any }
	if json.Unmarshal(text, &said) != nil {
		return clean(status + ": " + string(text[:min(len(text), maxReason)]))
	}
	for _, v := range []any{said.Detail, said.Message, said.Error, said.Title} {
		if words, ok := v.(string); ok && words != "" {
			return clean(status + ": " + words)
		}
	}
	return clean(status)
}

// clean makes words of a stranger fit for a log and a terminal.
func clean(words string) string {
	words = strings.ToValidUTF8(words[:min(len(words), maxReason)], "")
	words = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return ' '
		}
		return r
	}, words)
	return strings.TrimRight(strings.TrimSpace(words), ": ")
}

// retryAfter is the wait that a Retry-After header asks for, at most maxHold.
func retryAfter(header string) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = time.Until(at)
	}
	return max(0, min(d, maxHold))
}

package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"detections/session/wire"
)

// maxProblem bounds the bytes of an answer that are read, other than a picture's.
const maxProblem = 64 << 10

// Health is the hub's own word on how it is.
type Health struct {
	Status         string   `json:"status"`
	AIAvailability string   `json:"aiAvailability"` // None, DOWNLOADING, CONVERTING, ENABLED, ERROR
	Percent        *float64 `json:"percent,omitempty"`
	Reason         string   `json:"reason,omitempty"`
	Provider       string   `json:"provider,omitempty"`
	Model          string   `json:"model,omitempty"`
	// Upgrade is said while better engines are made.
	Upgrade  *Upgrade `json:"upgrade,omitempty"`
	Version  string   `json:"version"`
	Sessions int      `json:"sessions"`
	Draining bool     `json:"draining"`
	// Ready is the answer of /readyz: new work should be sent here. NotReady says why not.
	Ready    bool     `json:"ready"`
	NotReady []string `json:"reasons,omitempty"`
}

// Upgrade is how far better engines are.
type Upgrade struct {
	To      string   `json:"to"`
	Percent *float64 `json:"percent,omitempty"`
}

// Health asks the hub how it is. ErrUnreachable, ErrNotAHub.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var h Health
	if err := c.get(ctx, "health", &h); err != nil {
		return h, err
	}
	if h.AIAvailability == "" {
		return h, fmt.Errorf("%w: GET /health does not say aiAvailability", ErrNotAHub)
	}
	var ready struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons"`
	}
	err := c.get(ctx, "readyz", &ready)
	h.Ready, h.NotReady = ready.Ready, ready.Reasons
	return h, err
}

// get reads a JSON answer, whatever its status if it is JSON.
func (c *Client) get(ctx context.Context, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(path), nil)
	if err != nil {
		return err
	}
	answer, text, err := c.do(r)
	if err != nil {
		return err
	}
	if e := problemOf(answer, text); e != nil && e.Code != wire.BadMessage {
		return e
	}
	if kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); kind != "application/json" || json.Unmarshal(text, into) != nil {
		return fmt.Errorf("%w: GET /%s is answered %q", ErrNotAHub, path, answer.Status)
	}
	return nil
}

// Picture finds the objects in one picture. The error is a *wire.Error if the hub refuses.
func (c *Client) Picture(ctx context.Context, picture io.Reader, d *wire.Detect) (*wire.Picture, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url("detect")+query(d), io.NopCloser(picture))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	answer, text, err := c.do(r)
	if err != nil {
		return nil, err
	}
	if e := problemOf(answer, text); e != nil {
		return nil, e
	}
	var p wire.Picture
	if err := json.Unmarshal(text, &p); err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: POST /detect is answered %q", ErrNotAHub, answer.Status)
	}
	return &p, nil
}

// do makes a request and reads its answer.
func (c *Client) do(r *http.Request) (*http.Response, []byte, error) {
	header, err := c.header()
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(r.Header, header)
	answer, err := c.cfg.HTTP.Do(r)
	if err != nil {
		if cause := context.Cause(r.Context()); cause != nil {
			return nil, nil, cause
		}
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, innermost(err))
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: its answer broke off: %w", ErrUnreachable, err)
	}
	return answer, text, nil
}

// query is the choice of detections as a query.
func query(d *wire.Detect) string {
	if d == nil {
		return ""
	}
	q := url.Values{}
	for name, v := range map[string]*float64{"threshold": d.Threshold, "iou": d.IoU} {
		if v != nil {
			q.Set(name, strconv.FormatFloat(*v, 'g', -1, 64))
		}
	}
	if len(d.Labels) > 0 {
		q.Set("labels", strings.Join(d.Labels, ","))
	}
	return "?" + q.Encode()
}

// problemOf is the hub's error in an answer that is one.
func problemOf(answer *http.Response, text []byte) *wire.Error {
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if kind != "application/problem+json" {
		return nil
	}
	var p struct {
		Code   wire.Code `json:"code"`
		Detail string    `json:"detail"`
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&p); err != nil || p.Code == "" {
		return nil
	}
	return &wire.Error{Code: p.Code, Message: p.Detail}
}

// innermost leaves out what net/http and net say around the reason.
func innermost(err error) error {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

package web

import (
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"detections/session/wire"
)

// upload is the media in a request.
type upload struct {
	io.Reader
	name string
	size int64 // 0: not known
}

// openUpload finds the media in a body: the whole of it, or the first file of a
// multipart form.
func openUpload(r *http.Request) (upload, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return upload{r.Body, "", max(0, r.ContentLength)}, nil
	}
	parts, err := r.MultipartReader()
	if err != nil {
		return upload{}, wire.Errorf(wire.BadMessage, "the multipart form cannot be read: %v", err)
	}
	for {
		part, err := parts.NextPart()
		switch {
		case errors.Is(err, io.EOF):
			return upload{}, wire.Errorf(wire.BadMessage, "the multipart form has no file; send it as the part \"file\"")
		case err != nil:
			return upload{}, wire.Errorf(wire.BadMessage, "the multipart form cannot be read: %v", err)
		case part.FormName() == "file" || part.FileName() != "":
			return upload{part, part.FileName(), 0}, nil
		}
	}
}

// startOf makes a start message of a query.
func startOf(q url.Values) (wire.Start, error) {
	p := params{Values: q}
	m := wire.Start{
		Mode: wire.Mode(q.Get("mode")), Results: wire.Results(q.Get("results")),
		Sample: p.sample(), Detect: p.detect(), Track: p.boolean("track"), Key: q.Get("key"),
		Media: wire.Media{Container: q.Get("container"), SHA256: q.Get("sha256"), Name: q.Get("name")},
	}
	if n := p.number("expires_s"); n != nil {
		m.ExpiresS = int64(*n)
	}
	if n := p.number("budget_ms"); n != nil {
		m.BudgetMS = int(min(max(*n, -1), wire.MaxBudget+1))
	}
	if p.err != nil {
		return m, p.err
	}
	if err := m.Validate(); err != nil {
		return m, wire.Errorf(wire.BadMessage, "%s", err)
	}
	return m, nil
}

// detectOf makes the choice of detections of a query.
func detectOf(q url.Values) (*wire.Detect, error) {
	p := params{Values: q}
	m := wire.Configure{Detect: p.detect()}
	if p.err != nil {
		return nil, p.err
	}
	if err := m.Validate(); err != nil {
		return nil, wire.Errorf(wire.BadMessage, "%s", err)
	}
	return m.Detect, nil
}

// params reads a query and keeps the first error.
type params struct {
	url.Values
	err error
}

func (p *params) sample() *wire.Sample {
	s := wire.Sample{All: p.boolean("all")}
	if f := p.number("fps"); f != nil {
		s.FPS = *f
	}
	if p.Get("every") != "" {
		n, err := strconv.Atoi(p.Get("every"))
		if err != nil {
			p.fail("every", "a whole number", p.Get("every"))
		}
		s.Every = n
	}
	if s == (wire.Sample{}) {
		return nil
	}
	return &s
}

func (p *params) detect() *wire.Detect {
	d := wire.Detect{Threshold: p.number("threshold"), IoU: p.number("iou")}
	for _, list := range p.Values["labels"] {
		for l := range strings.SplitSeq(list, ",") {
			if l = strings.TrimSpace(l); l != "" {
				d.Labels = append(d.Labels, l)
			}
		}
	}
	if d.Threshold == nil && d.IoU == nil && d.Labels == nil {
		return nil
	}
	return &d
}

func (p *params) number(name string) *float64 {
	text := p.Get(name)
	if text == "" {
		return nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		p.fail(name, "a number", text)
		return nil
	}
	return &f
}

// boolean takes ?all, ?all=1, ?all=true and their opposites.
func (p *params) boolean(name string) bool {
	if !p.Has(name) {
		return false
	}
	text := p.Get(name)
	if text == "" {
		return true
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		p.fail(name, "true or false", text)
	}
	return b
}

func (p *params) fail(name, want, got string) {
	if p.err == nil {
		p.err = wire.Errorf(wire.BadMessage, "%s: expected %s, got %.40q", name, want, got)
	}
}

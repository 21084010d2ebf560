package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"detections/infer"
)

// ServiceConfig says where the Loader service is and where its models are kept. Zero
// values take the defaults.
type ServiceConfig struct {
	// URL of the service, http or https.
	URL string
	// Path of a model under URL; {name} stands for its name. Default: DefaultPath.
	Path string
	// Name of the model: letters, digits, dots, dashes and underscores.
	Name string
	// Token gives the bearer token of a request; an empty one, or nil: none is sent.
	Token func(ctx context.Context) (string, error)
	// Folder is where the models are kept.
	Folder string
	// InUse says which models must be kept beside the newest two; nil: none.
	InUse func(sha256 string) bool
	// Timeout is for each wait for an answer or for bytes; default 30 s.
	Timeout time.Duration
	// MinRate is how many bytes per second must come, as a mean over Timeout; default
	// DefaultMinRate. What comes slower is broken off, and goes on with the next attempt.
	MinRate int64
	// HTTP makes the requests; default: one of its own. It must have no Timeout, which
	// would cut long downloads off.
	HTTP *http.Client
}

// DefaultPath is where a Loader has its models.
const DefaultPath = "/models/{name}"

// DefaultMinRate of a download, in bytes per second.
const DefaultMinRate = 4 << 10

// Service is the Loader service as a source; docs/loader.md has the contract.
type Service struct {
	url     string
	store   store
	token   func(ctx context.Context) (string, error)
	timeout time.Duration
	enough  int64 // bytes within timeout
	http    *http.Client
	free    func(dir string) (int64, error)
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// NewService makes a Service; it does not connect.
func NewService(c ServiceConfig) (*Service, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("loader: %w", errors.Unwrap(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("loader %q: expected a URL such as https://loader.example.org, without a query or a password", u.Redacted())
	}
	if !modelName.MatchString(c.Name) {
		return nil, fmt.Errorf("loader: expected a model's name of up to 100 letters, digits, dots, dashes and underscores, got %.120q", c.Name)
	}
	path := cmp.Or(c.Path, DefaultPath)
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?# ") {
		return nil, fmt.Errorf("loader: expected a path such as %s, got %q", DefaultPath, path)
	}
	s := &Service{
		url:   strings.TrimRight(u.String(), "/") + strings.ReplaceAll(path, "{name}", c.Name),
		store: store{dir: c.Folder, name: c.Name, inUse: c.InUse}, token: c.Token,
		timeout: cmp.Or(c.Timeout, 30*time.Second), http: c.HTTP, free: free,
	}
	s.enough = max(1, int64(s.timeout.Seconds()*float64(cmp.Or(c.MinRate, DefaultMinRate))))
	if s.http == nil {
		s.http = &http.Client{Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: min(5*time.Second, s.timeout)}).DialContext,
			ForceAttemptHTTP2:     true,
			IdleConnTimeout:       time.Minute,
			TLSHandshakeTimeout:   s.timeout,
			ResponseHeaderTimeout: s.timeout,
		}}
	}
	return s, nil
}

func (s *Service) String() string { return s.url }

// Last implements Keeper.
func (s *Service) Last() (File, error) {
	for _, e := range s.store.entries() {
		if f, err := s.store.load(e); err == nil {
			return f, nil
		}
	}
	return File{}, fmt.Errorf("model %s: nothing was fetched yet: %w", s.store.name, fs.ErrNotExist)
}

// Fetch implements Source. What has come of a download stays, and the next attempt
// goes on there.
func (s *Service) Fetch(ctx context.Context, have string, progress func(Progress)) (File, error) {
	f, err := s.fetch(ctx, have, progress)
	if err == nil || errors.Is(err, ErrSame) {
		return f, err
	}
	if ctx.Err() != nil {
		return File{}, context.Cause(ctx)
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Reason: onDisk(err), Err: err}
	}
	e.Source = s.url
	return File{}, e
}

func (s *Service) fetch(ctx context.Context, have string, progress func(Progress)) (File, error) {
	var known entry // what the service gave last, if that is still there
	if all := s.store.entries(); len(all) > 0 && all[0].URL == s.url && s.store.has(all[0].SHA256) {
		known = all[0]
	}
	e, err := s.model(ctx, known, progress)
	if err != nil {
		return File{}, err
	}
	if err := s.description(ctx, &e, known); err != nil {
		return File{}, err
	}
	if e != known {
		if err := s.store.keep(e); err != nil {
			return File{}, err
		}
	}
	if key, err := e.key(); err != nil || key == have {
		return File{}, cmp.Or(err, ErrSame)
	}
	if err := s.golden(ctx, e.SHA256); err != nil {
		return File{}, err
	}
	return s.store.load(e)
}

// key is that of the file that becomes of e.
func (e *entry) key() (string, error) {
	f := File{SHA256: e.SHA256}
	if e.Description != "" {
		if err := f.describe([]byte(e.Description), e.DescribedBy); err != nil {
			return "", &Error{Reason: Invalid, Err: fmt.Errorf("%s: %w", e.DescribedBy, err)}
		}
	}
	return f.Key(), nil
}

// beside is the address of what goes with the model, for people.onnx as for people.
func (s *Service) beside(ext string) string { return strings.TrimSuffix(s.url, ".onnx") + ext }

// description asks for the description; that there is none is no error.
func (s *Service) description(ctx context.Context, e *entry, known entry) error {
	a, err := s.small(ctx, s.beside(".json"), known.DescriptionETag, infer.MaxDescription)
	if err != nil {
		return err
	}
	e.Description, e.DescribedBy, e.DescriptionETag = "", "", ""
	switch a.status {
	case http.StatusNotModified:
		e.Description, e.DescribedBy, e.DescriptionETag = known.Description, known.DescribedBy, known.DescriptionETag
	case http.StatusOK:
		e.Description, e.DescribedBy, e.DescriptionETag = string(a.text), s.beside(".json"), a.etag
	}
	_, err = e.key()
	return err
}

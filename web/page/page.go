// Package page is the demo page: files in the binary, served under a policy that lets
// a browser run nothing else.
//
// The files are plain modules, served as they are written; `make lint` checks their types.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"detections/docs/clients"
)

//go:embed static
var files embed.FS

//go:embed clients.html
var clientsText string

// Clients is the path of the page of printed clients.
const Clients = "/clients"

// The API reference: a page, OpenAPI for HTTP, AsyncAPI for messages. The tests of web
// make them.
const (
	Reference = "/reference"
	OpenAPI   = "/openapi.json"
	AsyncAPI  = "/asyncapi.json"
)

// named are files with a path of their own.
var named = map[string]string{
	"/": "index.html", Reference: "reference.html", OpenAPI: "openapi.json", AsyncAPI: "asyncapi.json",
}

// Policy is the Content-Security-Policy of every file. What the page shows beside its
// own files are pictures that it made itself.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " +
	"connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types worker"

// Prefix is the path below which the page's files are.
const Prefix = "/page/"

type file struct {
	body       []byte
	kind, etag string
}

// Page serves the files.
type Page struct {
	files   map[string]file // by their path in the URL
	clients *template.Template
}

// New reads the embedded files.
func New() (*Page, error) {
	p := &Page{files: map[string]file{}}
	var err error
	if p.clients, err = template.New("clients").Parse(clientsText); err != nil {
		return nil, fmt.Errorf("page of clients: %w", err)
	}
	err = fs.WalkDir(files, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		p.add(Prefix+strings.TrimPrefix(name, "static/"), body)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// kinds are types that a machine may not know, or know otherwise.
var kinds = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".svg": "image/svg+xml",
	".json": "application/json",
}

func (p *Page) add(url string, body []byte) {
	kind, ok := kinds[path.Ext(url)]
	if !ok {
		kind = mime.TypeByExtension(path.Ext(url))
	}
	sum := sha256.Sum256(body)
	p.files[url] = file{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// Wanted says whether a request for / is a browser's: it asks for HTML first.
func Wanted(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Accept"), "text/html")
}

// ServeHTTP serves the file that the path names; / is index.html.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	url := r.URL.Path
	if url == Clients {
		p.serveClients(w, r)
		return
	}
	if name, ok := named[url]; ok {
		url = Prefix + name
	}
	f, ok := p.files[url]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	guard(h)
	h.Set("Cache-Control", "no-cache") // ask each time: another version of the hub has another page
	h.Set("Content-Type", f.kind)
	h.Set("Etag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}

// guard sets what a browser is to be strict about.
func guard(h http.Header) {
	h.Set("Content-Security-Policy", Policy)
	h.Set("Permissions-Policy", "camera=(self), display-capture=(self), microphone=(), geolocation=()")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// serveClients prints the clients with commands for the host under which the caller
// reaches the hub.
func (p *Page) serveClients(w http.ResponseWriter, r *http.Request) {
	list, err := clients.All(r.Host)
	var text bytes.Buffer
	if err == nil {
		err = p.clients.Execute(&text, list)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	guard(w.Header())
	w.Header().Set("Content-Type", kinds[".html"])
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = text.WriteTo(w) // the client may be gone
}

package page_test

import (
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"detections/web/page"
)

func get(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	p, err := page.New()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestFilesHaveTheirTypeAndPolicy(t *testing.T) {
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page/app.js": "text/javascript; charset=utf-8",
		"/page/page.css": "text/css; charset=utf-8", "/page/icon.svg": "image/svg+xml",
	} {
		w := get(t, path)
		h := w.Header()
		if w.Code != 200 || h.Get("Content-Type") != kind || h.Get("Content-Security-Policy") != page.Policy || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", path, w.Code, h)
		}
		if again := get(t, path, "If-None-Match", h.Get("Etag")); again.Code != 304 {
			t.Errorf("%s, asked again: %d", path, again.Code)
		}
	}
}

func TestThePolicyLeavesNoHole(t *testing.T) {
	for _, word := range []string{"unsafe", "*", "http:", "https:"} {
		if strings.Contains(page.Policy, word) {
			t.Errorf("the policy has %q: %s", word, page.Policy)
		}
	}
}

func TestOtherFilesAreNotThere(t *testing.T) {
	for _, path := range []string{"/page/", "/page/none.js", "/page/../page.go", "/page/static/app.js"} {
		if w := get(t, path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestEveryNamedFileIsThere follows what the page and its modules load.
func TestEveryNamedFileIsThere(t *testing.T) {
	named := regexp.MustCompile(`(?:src|href)="(/page/[^"]+)"|from "\./([^"]+)"`)
	seen := map[string]bool{"/": true}
	for todo := []string{"/"}; len(todo) > 0; todo = todo[1:] {
		w := get(t, todo[0])
		if w.Code != 200 {
			t.Errorf("%s: %d", todo[0], w.Code)
		}
		for _, m := range named.FindAllStringSubmatch(w.Body.String(), -1) {
			path := m[1]
			if path == "" {
				path = page.Prefix + m[2]
			}
			if !seen[path] {
				seen[path] = true
				todo = append(todo, path)
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("only %d files are named", len(seen))
	}
}

func TestOnlyBrowsersWantThePage(t *testing.T) {
	for accept, want := range map[string]bool{
		"text/html,application/xhtml+xml,*/*;q=0.8": true, "*/*": false, "": false, "application/json": false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Accept", accept)
		if page.Wanted(r) != want {
			t.Errorf("%q: %t", accept, !want)
		}
	}
}

func TestClientsArePrintedForTheHost(t *testing.T) {
	w := get(t, "/clients")
	for _, want := range []string{"ws://example.com/v1/session", "import websockets", "curl -sS -N -T &#34;$video&#34;", "client.New(client.Config{URL: url})"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if w.Code != 200 || w.Header().Get("Content-Security-Policy") != page.Policy || strings.Contains(w.Body.String(), "ZgotmplZ") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

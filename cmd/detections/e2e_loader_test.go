package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"detections/infer/loader/loadertest"
)

// awaitHealth looks at /health until it is as it should be.
func (p *process) awaitHealth(what string, ok func(health) bool) {
	p.t.Helper()
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		h := p.model("GET", "/health", "")
		if ok(h) {
			return
		}
		if time.Since(begun) > patience {
			p.t.Fatalf("%s: %+v, update %+v, source %+v", what, h, h.Update, h.Source)
		}
	}
}

// catsModel is version n of the cats as a Loader gives it.
func catsModel(t *testing.T, n int) loadertest.Model {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, catsVersion(t, dir, n)))
	if err != nil {
		t.Fatal(err)
	}
	return loadertest.Model{Bytes: b, Version: fmt.Sprint(n), Description: `{"head": "yolov8"}`}
}

// Whatever goes wrong with a new version is told by /health, and the model that is
// there goes on; then the version comes.
func TestE2EALoaderFailsAndTheModelGoesOn(t *testing.T) {
	asked, broken := -1, []loadertest.Fault(nil)
	faults := make(chan []loadertest.Fault, 1)
	service := &loadertest.Service{Fault: func(int) loadertest.Fault {
		select {
		case broken = <-faults:
			asked = -1
		default:
		}
		asked++ // requests come one after the other
		if asked < len(broken) {
			return broken[asked]
		}
		return loadertest.None
	}}
	service.Put("cats", catsModel(t, 1))
	at := httptest.NewServer(service)
	defer at.Close()
	classes := filepath.Join(t.TempDir(), "classes.json")
	write(t, classes, `[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]`)
	p := serve(t, "--loader-url", at.URL, "--model", "cats", "--classes", classes, "--model-poll", "50ms")
	p.awaitHealth("the first version", func(h health) bool { return h.Model == "cats@1" })
	service.Put("cats", catsModel(t, 2))
	faults <- []loadertest.Fault{loadertest.Error500, loadertest.Cut, loadertest.Damage, loadertest.NoSum}
	seen := map[[2]string]bool{
		{"unavailable", "500 Internal Server Error"}: false, {"truncated", "unexpected EOF"}: false,
		{"mismatch", "expected sha256"}: false, {"mismatch", "expected the SHA-256"}: false,
	}
	p.awaitHealth("the second version", func(h health) bool {
		if h.AIAvailability != "ENABLED" {
			t.Errorf("meanwhile: %+v", h)
		}
		for why := range seen {
			seen[why] = seen[why] || h.Source != nil && h.Source.Reason == why[0] && strings.Contains(h.Source.Error, why[1])
		}
		return h.Model == "cats@2"
	})
	for why, ok := range seen {
		if !ok {
			t.Errorf("/health did not tell %q", why)
		}
	}
	// Other classes are another version of the same model.
	list := func() string {
		r, err := http.Get(p.url + "/classes")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var c struct{ Classes json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Fatal(err)
		}
		return string(c.Classes)
	}
	write(t, classes, `[{"id": 0, "name": "cat", "threshold": 0.9}, {"id": 1, "name": "dog", "color": "#00ff00"}]`)
	want := `[{"id":0,"name":"cat","threshold":0.9},{"id":1,"name":"dog","color":"#00ff00","threshold":0.45}]`
	p.awaitHealth("other classes", func(health) bool { return list() == want })
	write(t, classes, `[{"id": 0, "name": "cat"}, {"id": 0, "name": "dog"}]`)
	p.awaitHealth("classes that make no sense", func(h health) bool {
		return h.Source != nil && strings.Contains(h.Source.Error, "class 2 of the list: expected each id once, found 0 again")
	})
	write(t, classes, `[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}]`)
	p.awaitHealth("classes of another model", func(h health) bool {
		return h.Source != nil && strings.Contains(h.Source.Error, "has 2 classes, but classes.json names 3")
	})
	if h := p.model("GET", "/health", ""); h.AIAvailability != "ENABLED" || h.Model != "cats@2" || list() != want {
		t.Errorf("then %+v, classes %s", h, list())
	}
	for _, v := range service.Violations() {
		t.Error(v)
	}
}

// A version of a Loader that does not see what it must is refused, and why is told; the
// model that is there goes on. Once the pictures or the model are mended it serves.
func TestE2EGoldenPicturesOfALoader(t *testing.T) {
	service := &loadertest.Service{Pictures: map[string][]byte{"golden/street.jpg": read(t, "frame.jpg")}}
	version := func(n int, golden string) {
		m := catsModel(t, n)
		m.Description, m.Golden = `{"head": "yolov8", "labels": ["cat", "dog"]}`, golden
		service.Put("cats", m)
	}
	at := httptest.NewServer(service)
	defer at.Close()
	// The cat is at 192, 144 to 576, 432 in a picture of 768×576.
	good := `[{"image": "golden/street.jpg", "expect": [{"label": "cat", "box": [190, 140, 380, 290]}]}]`
	version(1, good)
	p := serve(t, "--loader-url", at.URL, "--model", "cats", "--model-poll", "50ms")
	p.awaitHealth("the first version", func(h health) bool { return h.Model == "cats@1" })
	refused := func(n int, golden, want string) {
		t.Helper()
		version(n, golden)
		p.awaitHealth(want, func(h health) bool {
			if h.AIAvailability != "ENABLED" || h.Model != "cats@1" {
				t.Errorf("meanwhile: %+v", h)
			}
			return h.Source != nil && strings.Contains(h.Source.Error, want)
		})
	}
	refused(2, strings.ReplaceAll(good, "cat", "dog"), "golden picture golden/street.jpg: expected dog at [190 140 380 290]")
	if h := p.model("GET", "/health", ""); h.Update == nil || h.Update.To != "cats@2" || !strings.Contains(h.Update.Reason, "expected dog") {
		t.Errorf("the update: %+v", h.Update)
	}
	refused(3, strings.ReplaceAll(good, "street", "none"), `golden picture "golden/none.jpg": expected it at `)
	version(3, good)
	p.awaitHealth("the third version", func(h health) bool { return h.Model == "cats@3" })
	for _, v := range service.Violations() {
		t.Error(v)
	}
}

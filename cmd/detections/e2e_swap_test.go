package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"detections/infer"
	"detections/infer/infertest"
)

// confidence is what version n of the cats sees its cat with.
func confidence(n int) float64 { return 0.5 + float64(n)/200 }

// catsVersion writes version n of a model of 64×64 that always sees one cat.
func catsVersion(t *testing.T, dir string, n int) string {
	t.Helper()
	return writeCats(t, dir, n, catsGraph(n))
}

// catsGraph is the network of version n.
func catsGraph(n int) infertest.Graph {
	values := make([]float32, 6*84)
	for k, v := range []float32{32, 32, 32, 24, float32(confidence(n))} {
		values[k*84] = v
	}
	return infertest.Fixed(infer.Tensor{Name: "images", Type: "float32", Shape: []int64{0, 3, 64, 64}},
		infertest.Output{Tensor: infer.Tensor{Name: "output0", Type: "float32", Shape: []int64{0, 6, 84}}, Values: values})
}

// writeCats writes a network as version n of the cats.
func writeCats(t *testing.T, dir string, n int, g infertest.Graph) string {
	t.Helper()
	name := fmt.Sprintf("v%d", n)
	description := fmt.Sprintf(`{"name": "cats", "version": "%d", "labels": ["cat", "dog"]}`, n)
	for name, text := range map[string]string{name + ".json": description, name + ".onnx": string(g.Bytes())} {
		write(t, filepath.Join(dir, name), text)
	}
	return name + ".onnx"
}

// write puts a file into its place at once.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// health is as much of /health as these tests look at.
type health struct {
	AIAvailability, Model, Provider, Reason string
	Update                                  *struct{ To, Reason string }
	Source                                  *struct{ Phase, Error, Reason string }
	Kept                                    []string
	Providers                               []struct{ Name, State, Reason string }
	Status                                  any
	Code, Detail                            string
}

// model asks for or changes the model.
func (p *process) model(method, path, body string) (h health) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err == nil {
		err = json.Unmarshal(text, &h)
	}
	if err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	return h
}

// TestE2EModelsOfAFolder: a version that appears in the model's folder is deployed, one
// that cannot be used is refused and leaves the one before, one that does not see what it
// must is too, and one can go back.
func TestE2EModelsOfAFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "frame.jpg"), string(read(t, "frame.jpg")))
	catsVersion(t, dir, 1)
	data := t.TempDir()
	p := serve(t, "--data", data, "--model", dir, "--model-poll", "100ms")
	until := func(what string, ok func(health) bool) health {
		t.Helper()
		for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			h := p.model("GET", "/health", "")
			if ok(h) {
				return h
			}
			if time.Since(begun) > patience {
				t.Fatalf("%s: %+v", what, h)
			}
		}
	}
	// What was not touched stays older, however long this takes.
	later := time.Now().Add(time.Hour)
	touch := func(name string) { // file systems tell times of the same moment
		later = later.Add(2 * time.Second)
		if err := os.Chtimes(filepath.Join(dir, name), later, later); err != nil {
			t.Fatal(err)
		}
	}
	touch(catsVersion(t, dir, 2))
	until("a new version", func(h health) bool { return h.Model == "cats@2" })
	write(t, filepath.Join(dir, "bad.onnx"), "<html>not found</html>")
	touch("bad.onnx")
	h := until("a bad one", func(h health) bool {
		return h.Update != nil && strings.HasPrefix(h.Update.To, "bad@") && h.Update.Reason != ""
	})
	if h.AIAvailability != "ENABLED" || h.Model != "cats@2" || !strings.Contains(h.Update.Reason, "expected an ONNX model, found a page of HTML") {
		t.Errorf("health %+v, update %+v", h, h.Update)
	}
	if err := os.Remove(filepath.Join(dir, "bad.onnx")); err != nil {
		t.Fatal(err)
	}
	// The cat is at 192, 144 to 576, 432 in a picture of 768×576.
	write(t, filepath.Join(dir, "v3.golden.json"), `[{"image": "frame.jpg", "expect": [{"label": "cat", "box": [190, 140, 380, 290]}]}]`)
	write(t, filepath.Join(dir, "v4.golden.json"), `[{"image": "frame.jpg", "expect": [{"label": "dog", "box": [190, 140, 380, 290]}]}]`)
	for n, want := range map[int]string{3: "", 4: "golden picture frame.jpg: expected dog at [190 140 380 290]"} {
		name := catsVersion(t, dir, n)
		touch("v2.onnx") // it is asked for, not found
		h := p.model("POST", "/v1/model", `{"file":"`+name+`"}`)
		if want == "" && h.Model != "cats@3" || want != "" && (h.Status != 422.0 || h.Code != "bad_model" || !strings.Contains(h.Detail, want)) {
			t.Errorf("version %d: %+v", n, h)
		}
	}
	if h := p.model("POST", "/v1/model/rollback", ""); h.Model != "cats@2" || h.Update == nil || h.Update.To != "cats@3" {
		t.Errorf("rolled back: %+v", h)
	}
	if h := p.model("POST", "/v1/model", `{"file":"../v3.onnx"}`); h.Code != "bad_message" {
		t.Errorf("a file elsewhere: %+v", h)
	}
	if h := p.model("POST", "/v1/model", ""); h.Model != "cats@2" || h.Status != nil {
		t.Errorf("nothing new: %+v", h)
	}
	// After a restart what was rolled back is not tried again; the version that served last stands in.
	p.signal(syscall.SIGTERM)
	p.exit()
	touch("v3.onnx")
	p = serve(t, "--data", data, "--model", dir, "--model-poll", "100ms")
	h = until("a restart", func(h health) bool { return h.Model != "" })
	if h.Model != "cats@2" || h.Update == nil || !strings.Contains(h.Update.Reason, "it was rolled back") {
		t.Errorf("after a restart: %+v, update %+v", h, h.Update)
	}
	if h := p.model("POST", "/v1/model", `{"force": true}`); h.Model != "cats@3" {
		t.Errorf("forced: %+v", h)
	}
}

func TestE2EALazyHubLoadsWhenItIsAsked(t *testing.T) {
	p := start(t, nil, "--engine-init", "lazy")
	if h := p.model("GET", "/health", ""); h.AIAvailability != "None" {
		t.Errorf("before: %+v", h)
	}
	all := p.curl("-F", "file=@"+media(t, "frame.jpg"), p.url+"/detect")
	if len(all) != 1 || !bytes.Contains(all[0].Detections, []byte("label")) {
		t.Errorf("answer %+v", all)
	}
	if h := p.model("GET", "/health", ""); h.AIAvailability != "ENABLED" {
		t.Errorf("after: %+v", h)
	}
}

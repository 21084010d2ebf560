package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/infer"
	"detections/infer/infertest"
)

// confidence is what version n of the cats sees its cat with.
func confidence(n int) float64 { return 0.5 + float64(n)/200 }

// catsVersion writes version n of a model of 64×64 that always sees one cat.
func catsVersion(t *testing.T, dir string, n int) string {
	t.Helper()
	values := make([]float32, 6*84)
	for k, v := range []float32{32, 32, 32, 24, float32(confidence(n))} {
		values[k*84] = v
	}
	g := infertest.Fixed(infer.Tensor{Name: "images", Type: "float32", Shape: []int64{0, 3, 64, 64}},
		infertest.Output{Tensor: infer.Tensor{Name: "output0", Type: "float32", Shape: []int64{0, 6, 84}}, Values: values})
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

// feed is a live session that is sent pictures, and what it answered.
type feed struct {
	socket
	mu      sync.Mutex
	results int
	gap     time.Duration // the longest between two results
	wrong   []string
	told    []string // versions of configured events
	failed  int64
	outcome string
}

// read checks every result against the version that it names, until the end.
func (f *feed) read() {
	var model string
	var last time.Time
	for {
		_, text, err := f.Read(f.ctx)
		if err != nil {
			f.wrong = append(f.wrong, err.Error())
			return
		}
		var m struct {
			Type       string
			Frame      int64
			Model      json.RawMessage
			Detections []struct{ Confidence float64 }
			Error      *struct{ Code string }
			Outcome    string
			Accounting struct{ Failed map[string]int64 }
		}
		if err := json.Unmarshal(text, &m); err != nil {
			f.wrong = append(f.wrong, err.Error())
			return
		}
		f.mu.Lock()
		switch m.Type {
		case "configured":
			var ref struct{ Name, Version string }
			_ = json.Unmarshal(m.Model, &ref)
			model = ref.Name + "@" + ref.Version
			f.told = append(f.told, ref.Version)
		case "detections":
			var ref string
			_ = json.Unmarshal(m.Model, &ref)
			n, err := strconv.Atoi(strings.TrimPrefix(ref, "cats@"))
			if err != nil || ref != model || m.Error != nil || len(m.Detections) != 1 || math.Abs(m.Detections[0].Confidence-confidence(n)) > 1e-3 {
				f.wrong = append(f.wrong, fmt.Sprintf("with %s: %s", model, text))
			}
			if now := time.Now(); !last.IsZero() {
				f.gap = max(f.gap, now.Sub(last))
			}
			last = time.Now()
			f.results++
		case "end":
			f.outcome, f.failed = m.Outcome, m.Accounting.Failed["engine_error"]
		}
		f.mu.Unlock()
		if m.Type == "end" {
			return
		}
	}
}

// TestE2ESwapsUnderLoad changes the model of a hub that serves two live sessions and a
// file: no frame fails, and each result is of the version that it names. SWAPS=50 is the
// long form, see make test-swap.
func TestE2ESwapsUnderLoad(t *testing.T) {
	swaps := 6
	if n, err := strconv.Atoi(os.Getenv("SWAPS")); err == nil {
		swaps = n
	}
	dir := t.TempDir()
	catsVersion(t, dir, 0)
	p := serve(t, "--model", dir, "--model-poll", "0", "--max-batch", "2")
	frame := read(t, "frame.jpg")
	var feeds []*feed
	var all sync.WaitGroup
	for _, mode := range []string{"live", "live", "file"} {
		c, _ := p.socket(t, `{"type":"start","mode":"`+mode+`","media":{"container":"mjpeg"}}`)
		f := &feed{socket: c}
		feeds = append(feeds, f)
		all.Go(f.read)
	}
	stop := make(chan struct{})
	var fed sync.WaitGroup
	for _, f := range feeds {
		fed.Go(func() {
			for {
				if err := f.Write(f.ctx, websocket.MessageBinary, frame); err != nil {
					return
				}
				select {
				case <-stop:
					_ = f.Write(f.ctx, websocket.MessageText, []byte(`{"type":"eof"}`))
					return
				case <-time.After(60 * time.Millisecond):
				}
			}
		})
	}
	begun := time.Now()
	for n := 1; n <= swaps; n++ {
		name := catsVersion(t, dir, n)
		if h := p.model("POST", "/v1/model", `{"file":"`+name+`"}`); h.Model != fmt.Sprintf("cats@%d", n) {
			t.Fatalf("swap %d: %+v", n, h)
		}
		for _, f := range feeds[:2] { // a result of it, or there would be nothing to see
			for {
				f.mu.Lock()
				there := len(f.told) > 0 && f.told[len(f.told)-1] == strconv.Itoa(n)
				f.mu.Unlock()
				if there || time.Since(begun) > 5*time.Minute {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	took := time.Since(begun)
	close(stop)
	fed.Wait()
	all.Wait()
	for i, f := range feeds {
		want := swaps + 1
		if i == 2 {
			want = 1
		}
		if len(f.wrong) > 0 || f.outcome != "done" || f.failed != 0 || len(f.told) != want {
			t.Errorf("client %d: %d versions, ended %q, %d failed, %d wrong: %.300q", i, len(f.told), f.outcome, f.failed, len(f.wrong), f.wrong)
		}
		t.Logf("client %d: %d results of %d versions, at most %v between two", i, f.results, len(f.told), f.gap.Round(time.Millisecond))
	}
	t.Logf("%d swaps in %v", swaps, took.Round(time.Millisecond))
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
	later := time.Now()
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

package main_test

import (
	"encoding/json"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
	"detections/infer/loader/loadertest"
)

// modelFile writes a YOLOv8 of 64×64 that always sees one cat, at 16, 20 to 48, 44.
func modelFile(t *testing.T, name, description string) string {
	t.Helper()
	values := make([]float32, 6*84)
	for k, v := range []float32{32, 32, 32, 24, 0.8} {
		values[k*84] = v
	}
	g := infertest.Fixed(infer.Tensor{Name: "images", Type: "float32", Shape: []int64{0, 3, 64, 64}},
		infertest.Output{Tensor: infer.Tensor{Name: "output0", Type: "float32", Shape: []int64{0, 6, 84}}, Values: values})
	dir := t.TempDir()
	for name, text := range map[string]string{name + ".onnx": string(g.Bytes()), "model.json": description} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, name+".onnx")
}

const cats = `{"version": "3", "labels": ["cat", "dog"]}`

func TestE2EModelInspect(t *testing.T) {
	cli(t, "model", "inspect", "--time", "10ms", modelFile(t, "cats", cats)).check(t, "inspect", 0,
		"model        cats@3, ", "model.json\n", "output       output0 float32 [N,6,84]", "head         yolov8: [N,4+C,A]",
		"64×64 RGB, float32 nchw, letterbox, centred, border 114", "labels       2: cat, dog", "cpu       8 ", "recommended: --providers cpu --max-batch ")
	cli(t, "model", "inspect", "--time", "0", "../../infer/loader/nanodet-g-416.onnx").check(t, "embedded", 0,
		"head         nanodet: ", "labels       80: person, bicycle,")
	// What is wrong is said after what was read.
	cli(t, "model", "inspect", modelFile(t, "cats", `{"labels": ["cat"]}`)).check(t, "labels", 1,
		"output       output0 float32 [N,6,84]", "detections: cats: describe model: yolov8: output output0 float32 [N,6,84] has 2 classes, but the description names 1")
	for _, c := range []struct {
		status int
		words  string
		args   []string
	}{
		{1, "expected an ONNX model, found", []string{"inspect", media(t, "frame.jpg")}},
		{1, "nowhere.onnx: no such file", []string{"inspect", "nowhere.onnx"}},
		{1, `there is no setting "label"`, []string{"inspect", modelFile(t, "cats", `{"label": ["cat"]}`)}},
		{2, "expected the ONNX file of a model", []string{"inspect"}},
		{2, "--time: expected 0 to 1m", []string{"inspect", "--time", "2h", "x.onnx"}},
		{2, "expected the ONNX file of a model, and pictures", []string{"try", "x.onnx"}},
		{2, "name another folder", []string{"try", "--out", filepath.Dir(media(t, "frame.jpg")), "x.onnx", media(t, "frame.jpg")}},
		{1, "no inference engine: model from nowhere.onnx: no such file", []string{"try", "nowhere.onnx", media(t, "frame.jpg")}},
	} {
		cli(t, append([]string{"model"}, c.args...)...).check(t, c.words, c.status, c.words)
	}
}

func TestE2EModelTryDrawsWhatTheModelFinds(t *testing.T) {
	out := filepath.Join(t.TempDir(), "boxes")
	cli(t, "model", "try", "--out", out, modelFile(t, "cats", cats), media(t, "frame.jpg")).check(t, "try", 0,
		"frame.jpg  768×576, picture", "cat", "confidence up to 0.80", "one picture with boxes saved")
	f, err := os.Open(filepath.Join(out, "frame.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := jpeg.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	// The picture fills 64×48 of 64×64: a twelfth, 8 from above. So the box is 192, 144 to 576, 432.
	for _, p := range [][2]int{{193, 300}, {574, 300}, {400, 145}, {400, 430}} {
		if r, g, b, _ := img.At(p[0], p[1]).RGBA(); r>>8 < 0xd0 || g>>8 < 0xa0 || b>>8 > 0x60 {
			t.Errorf("pixel %v is %x %x %x, not of the box's yellow", p, r>>8, g>>8, b>>8)
		}
	}
}

func TestE2EServeAndDetectUseAModelFile(t *testing.T) {
	model := modelFile(t, "cats", cats)
	p := serve(t, "--model", model)
	cli(t, "health", "--hub", p.url).check(t, "health", 0, "ready: cats@3 on cpu")
	cli(t, "detect", "--hub", p.url, "--every", "50", media(t, "people.mp4")).check(t, "detect", 0, "cat", "in 2 of 2 frames")
	cli(t, "detect", "--local", "--model", model, media(t, "frame.jpg")).check(t, "local", 0, "cat", "confidence up to 0.80")
	cli(t, "detect", "--hub", p.url, "--model", model, media(t, "frame.jpg")).check(t, "both", 2, "--model: a hub has its own model; give --local too")
}

// The model comes from the Loader, with the classes of this machine; at the next start the
// Loader is away.
func TestE2EAModelComesFromTheLoader(t *testing.T) {
	model, err := os.ReadFile(modelFile(t, "cats", cats))
	if err != nil {
		t.Fatal(err)
	}
	service := &loadertest.Service{Tokens: func(token string) bool { return token == "open" }}
	service.Put("cats", loadertest.Model{Bytes: model, Version: "2026-11", Description: `{"head": "yolov8"}`})
	at := httptest.NewServer(service)
	defer at.Close()
	classes := filepath.Join(t.TempDir(), "classes.json")
	if err := os.WriteFile(classes, []byte(`[{"id": 1, "name": "dog"}, {"id": 0, "name": "cat", "color": "#ff8800", "threshold": 0.9}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", t.TempDir(), "--loader-url", at.URL, "--model", "cats", "--classes", classes}
	p := start(t, []string{"DETECTIONS_LOADER_TOKEN=open"}, args...)
	p.await("engine ready")
	cli(t, "health", "--hub", p.url).check(t, "health", 0, "ready: cats@2026-11 on cpu")
	res, err := http.Get(p.url + "/classes")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list struct{ Classes []infer.ClassInfo }
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if want := []infer.ClassInfo{{ID: 0, Name: "cat", Color: "#ff8800", Threshold: 0.9}, {ID: 1, Name: "dog", Threshold: 0.45}}; !reflect.DeepEqual(list.Classes, want) {
		t.Errorf("classes %+v", list.Classes)
	}
	// The cat is seen with 0.8: enough for who asks for so much, not for a cat in general.
	cli(t, "detect", "--hub", p.url, media(t, "frame.jpg")).check(t, "the class's threshold", 0, "nothing")
	cli(t, "detect", "--hub", p.url, "--threshold", "0.7", media(t, "frame.jpg")).check(t, "the session's threshold", 0, "cat", "confidence up to 0.80")
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Fatalf("exit status %d", code)
	}
	at.Close()
	p = start(t, nil, args...)
	p.await("engine ready")
	cli(t, "health", "--hub", p.url).check(t, "without a Loader", 0, "ready: cats@2026-11 on cpu")
	cli(t, "serve", "--loader-url", at.URL).check(t, "no name", 2, "model: expected the name of a model at loader-url")
	cli(t, "serve", "--loader-token-file", "x").check(t, "no URL", 2, "loader-url: expected the URL that the token is for")
	for _, v := range service.Violations() {
		t.Error(v)
	}
}

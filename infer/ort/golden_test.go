//go:build cgo

package ort

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

// goldenFile is testdata/nanodet-g-416.json, made by an independent implementation;
// it explains itself.
type goldenFile struct {
	SHA256 string        `json:"sha256"`
	Images []goldenImage `json:"images"`
}

type goldenImage struct {
	Name, File string
	Width      int
	Height     int
	MD5        string `json:"rgb_md5"`
	Letterbox  struct {
		W    int `json:"new_w"`
		H    int `json:"new_h"`
		Left int
		Top  int
	}
	Input struct {
		Mean    [3]float64 `json:"mean_per_channel"`
		Samples []struct {
			C, Y, X int
			V       float64
		}
	}
	RawTop []struct {
		Anchor int
		Class  int `json:"class_id"`
		Score  float64
		Box    [4]float64 `json:"box_in_input_px"`
	} `json:"raw_top"`
	Detections     []goldenDetection
	BelowThreshold []goldenDetection `json:"below_threshold"`
}

type goldenDetection struct {
	Class    int `json:"class_id"`
	Score    float64
	Box      [4]float64 // corners, in source pixels
	RunnerUp float64    `json:"runner_up_score"`
}

func golden(t testing.TB) goldenFile {
	t.Helper()
	var g goldenFile
	b, err := os.ReadFile("testdata/nanodet-g-416.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil || len(g.Images) != 5 {
		t.Fatalf("golden file: %v, %d images", err, len(g.Images))
	}
	return g
}

func TestGolden(t *testing.T) {
	e := openNanoDet(t, Options{Providers: []string{"cpu"}})
	g := golden(t)
	if e.Model().SHA256 != g.SHA256 {
		t.Fatalf("the golden file is of another model: %s", g.SHA256)
	}
	for _, want := range g.Images {
		t.Run(want.Name, func(t *testing.T) {
			for _, wrong := range compare(t, e, want, loadPNG(t, want).exact) {
				t.Error(wrong)
			}
		})
	}
}

// A test that passes with the wrong pixels would be worth nothing.
func TestGoldenNoticesWrongPixels(t *testing.T) {
	e := openNanoDet(t, Options{Providers: []string{"cpu"}})
	want := golden(t).Images[2]
	img := loadPNG(t, want)
	swapped := func(in infer.Input, dst []float32) {
		other := img
		other.rgb = slices.Clone(img.rgb)
		for i := 0; i < len(other.rgb); i += 3 {
			other.rgb[i], other.rgb[i+2] = other.rgb[i+2], other.rgb[i]
		}
		other.exact(in, dst)
	}
	shifted := func(in infer.Input, dst []float32) {
		other := img
		other.shift = 0.5
		other.exact(in, dst)
	}
	for name, letterbox := range map[string]func(infer.Input, []float32){"red and blue swapped": swapped, "shifted by half a pixel": shifted} {
		wrong := compare(t, e, want, letterbox)
		if len(wrong) < 3 {
			t.Errorf("%s: only %d differences noticed: %v", name, len(wrong), wrong)
		}
	}
}

// compare runs one image and says what differs from the golden results.
func compare(t *testing.T, e infer.Engine, want goldenImage, letterbox func(infer.Input, []float32)) (wrong []string) {
	t.Helper()
	differ := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	m := e.Model()
	place := m.Input.View().Place(want.Width, want.Height)
	if l := want.Letterbox; place.X != l.Left || place.Y != l.Top || place.W != l.W || place.H != l.H {
		differ("letterbox %+v, want %+v", place, l)
	}
	input := make([]float32, m.Input.Size())
	letterbox(m.Input, input)
	copy(e.Input(0), bytesOf(input))
	area := m.Input.Width * m.Input.Height
	for _, s := range want.Input.Samples {
		if got := input[s.C*area+s.Y*m.Input.Width+s.X]; !near(float64(got), s.V, 1e-3) {
			differ("input channel %d at %d,%d is %v, want %v", s.C, s.X, s.Y, got, s.V)
		}
	}
	if err := e.Run(1); err != nil {
		t.Fatal(err)
	}
	scores, boxes := e.Output(0, 0), e.Output(1, 0)
	for i, top := range want.RawTop {
		if got := scores[top.Anchor*len(m.Labels)+top.Class]; !near(float64(got), top.Score, 1e-4) {
			differ("score %d of anchor %d is %v, want %v", i, top.Anchor, got, top.Score)
		}
		for k, v := range top.Box {
			if got := boxes[top.Anchor*4+k]; !near(float64(got), v, 0.05) {
				differ("side %d of the box of anchor %d is %v, want %v", k, top.Anchor, got, v)
			}
		}
	}
	var post infer.Postprocessor
	got := post.Detect(e, 0, &infer.Detect{Threshold: 0.35, IoU: 0.5}, place)
	if len(got) != len(want.Detections) {
		differ("%d detections, want %d: %+v", len(got), len(want.Detections), got)
	}
	for i := range min(len(got), len(want.Detections)) {
		if d := want.Detections[i]; !d.matches(got[i]) {
			differ("detection %d is %+v, want %+v", i, got[i], d)
		}
	}
	return wrong
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

// matches allows for the other one of two boxes where the better one leads by next
// to nothing, as the golden file asks.
func (d goldenDetection) matches(got infer.Detection) bool {
	score, side := 1e-3, 0.5
	if d.Score-d.RunnerUp < 0.005 {
		score, side = 6e-3, 11.5
	}
	ok := got.Class == d.Class && near(float64(got.Confidence), d.Score, score)
	for i, v := range corners(got.Box) {
		ok = ok && near(v, d.Box[i], side)
	}
	return ok
}

func corners(b infer.Box) [4]float64 {
	return [4]float64{float64(b.X), float64(b.Y), float64(b.X + b.W), float64(b.Y + b.H)}
}

// With pixels rounded to bytes, as a decoder delivers them, and through the
// batcher: the same objects, by the golden file's rule for any other scaling.
func TestGoldenObjectsAreFoundThroughTheBatcher(t *testing.T) {
	engines := []infer.Engine{
		openNanoDet(t, Options{Providers: []string{"cpu"}}), openNanoDet(t, Options{Providers: []string{"cpu"}}),
	}
	b, err := infer.NewBatcher(infer.BatcherConfig{Engines: engines})
	if err != nil {
		t.Fatal(err)
	}
	g, view := golden(t), b.Model().Input.View()
	s := &album{found: make([][]infer.Detection, len(g.Images))}
	for i, want := range g.Images {
		img := loadPNG(t, want)
		s.frames = append(s.frames, s.pool.Picture(media.FrameInfo{Index: int64(i), Width: img.w, Height: img.h}, view, img.rounded(view)))
	}
	s.answered.Add(len(s.frames))
	place, err := b.Join(s, infer.Client{Class: infer.File})
	if err != nil {
		t.Fatal(err)
	}
	place.Ready(len(s.frames))
	s.answered.Wait()
	place.Leave()
	if err := b.Close(); err != nil || s.pool.Live() != 0 {
		t.Errorf("close: %v, %d frames held", err, s.pool.Live())
	}
	for i, want := range g.Images {
		checkObjects(t, want, s.found[i])
	}
}

// album is a source of a few pictures.
type album struct {
	pool     infertest.Pool
	answered sync.WaitGroup

	mu     sync.Mutex
	frames []*media.Frame
	found  [][]infer.Detection
}

func (a *album) Take() (infer.Request, bool, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.frames[0]
	a.frames = a.frames[1:]
	return infer.Request{Frame: f, Detect: &infer.Detect{Threshold: 0.35, IoU: 0.5}}, len(a.frames) > 0, true
}

func (a *album) Done(f media.FrameInfo, r *infer.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found[f.Index] = slices.Clone(r.Detections)
	a.answered.Done()
}

// checkObjects matches by class, IoU ≥ 0.6 and score ± 0.12: what is clearly above
// the threshold on either side must be on the other side too.
func checkObjects(t *testing.T, want goldenImage, got []infer.Detection) {
	t.Helper()
	const threshold, slack = 0.35, 0.12
	all := slices.Concat(want.Detections, want.BelowThreshold)
	like := func(d goldenDetection, g infer.Detection) bool {
		return d.Class == g.Class && overlap(d.Box, corners(g.Box)) >= 0.6 && near(d.Score, float64(g.Confidence), slack)
	}
	for _, d := range want.Detections {
		if d.Score >= threshold+slack && !slices.ContainsFunc(got, func(g infer.Detection) bool { return like(d, g) }) {
			t.Errorf("%s: %+v was not found", want.Name, d)
		}
	}
	for _, g := range got {
		if g.Confidence >= threshold+slack && !slices.ContainsFunc(all, func(d goldenDetection) bool { return like(d, g) }) {
			t.Errorf("%s: found %+v, which is not there", want.Name, g)
		}
	}
	if !slices.IsSortedFunc(got, func(a, b infer.Detection) int { return cmp.Compare(b.Confidence, a.Confidence) }) {
		t.Errorf("%s: not the highest confidence first", want.Name)
	}
}

func overlap(a, b [4]float64) float64 {
	w := min(a[2], b[2]) - max(a[0], b[0])
	h := min(a[3], b[3]) - max(a[1], b[1])
	inter := max(w, 0) * max(h, 0)
	return inter / ((a[2]-a[0])*(a[3]-a[1]) + (b[2]-b[0])*(b[3]-b[1]) - inter)
}

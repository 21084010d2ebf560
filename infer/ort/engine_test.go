//go:build cgo

package ort

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

func TestEngine(t *testing.T) {
	infertest.TestEngine(t, openNanoDet(t, Options{Providers: []string{"cpu"}, MaxBatch: 8}))
}

// Whoever infers a frame, the result is the same: an engine of many threads takes those
// that are alone.
func TestThreadsDoNotChangeResults(t *testing.T) {
	noise, random := make([]byte, 416*416*3), rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	var want [2][]float32
	for _, threads := range []int{1, 2, 3, 8} {
		e := openNanoDet(t, Options{Providers: []string{"cpu"}, Threads: threads, MaxBatch: 1})
		infer.NewNormalizer(e.Model().Input).Convert(e.Input(0), noise)
		if err := e.Run(1); err != nil {
			t.Fatal(err)
		}
		for k := range want {
			if got := e.Output(k, 0); threads == 1 {
				want[k] = slices.Clone(got)
			} else if !slices.Equal(got, want[k]) {
				t.Errorf("output %d of %d threads is not that of one", k, threads)
			}
		}
	}
}

func TestDescribeReadsTheModel(t *testing.T) {
	m, err := described()
	if err != nil {
		t.Fatal(err)
	}
	in := infer.Input{
		Name: "images", Width: 416, Height: 416, Format: media.BGR24, Fit: media.Letterbox,
		Mean: [3]float32{103.53, 116.28, 123.675}, Std: [3]float32{57.375, 57.12, 58.395},
	}
	if m.Input != in || m.Ref() != "nanodet@ce53d22ed9cb" || len(m.Labels) != 80 || m.Label(0) != "person" || m.Label(79) != "toothbrush" {
		t.Errorf("got %+v", m)
	}
}

func TestDescribeSaysWhatItExpectedAndFound(t *testing.T) {
	if _, err := Describe([]byte("not a model"), nil); err == nil {
		t.Error("nonsense was described")
	}
	b, err := nanodet()
	if err != nil {
		t.Fatal(err)
	}
	// The same model with its colour order misspelt, and one with other outputs' names.
	for from, c := range map[string]struct{ to, want string }{
		"\x05color\x12\x03BGR": {"\x05color\x12\x03BRG", `metadata color is "BRG", expected BGR or RGB`},
		"\x05boxes":            {"\x05bexes", "no head reads these outputs: 2 outputs of three dimensions; expected one of:"},
	} {
		changed := bytes.ReplaceAll(b, []byte(from), []byte(c.to))
		if bytes.Equal(changed, b) {
			t.Fatalf("%q is not in the model", from)
		}
		_, err := Describe(changed, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "found input images float32 [N,3,416,416]") {
			t.Errorf("%q: err = %v", c.to, err)
		}
	}
}

func TestProvidersThatCannotLoadAreNamed(t *testing.T) {
	if _, err := os.Stat("/dev/nvidiactl"); err == nil {
		t.Skip("this machine has a GPU: TestGPUCUDA… is for it")
	}
	var log bytes.Buffer
	e := openNanoDet(t, Options{MaxBatch: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if e.Identity().Provider != "cpu" {
		t.Errorf("provider %s", e.Identity().Provider)
	}
	for _, part := range []string{"provider=tensorrt", "provider=cuda", "engine=ce53d22ed9cb/cpu/fp32"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q:\n%s", part, &log)
		}
	}
	m, b := e.Model(), must(nanodet())
	_, err := Open(b, m, Options{Providers: []string{"cuda", "abacus"}})
	if err == nil || !strings.Contains(err.Error(), "cuda: ") || !strings.Contains(err.Error(), "abacus: no such execution provider") {
		t.Errorf("err = %v, want one that names both providers", err)
	}
	if _, err := Open(b[1:], m, Options{}); err == nil {
		t.Error("another file than the described one was opened")
	}
}

// From pixels in shared memory to detections nothing is allocated.
func TestFrameDoesNotAllocate(t *testing.T) {
	e := openNanoDet(t, Options{Providers: []string{"cpu"}, MaxBatch: 2})
	pixels, in := infer.NewNormalizer(e.Model().Input), e.Model().Input
	img := loadPNG(t, golden(t).Images[2])
	pix := img.rounded(in.View())
	var post infer.Postprocessor
	found := 0
	step := func() {
		for i := range 2 {
			pixels.Convert(e.Input(i), pix)
		}
		if err := e.Run(2); err != nil {
			t.Fatal(err)
		}
		found = len(post.Detect(e, 1, nil, in.View().Place(img.w, img.h)))
	}
	step()
	if n := testing.AllocsPerRun(5, step); n != 0 && !sanitized || found == 0 {
		t.Errorf("%v allocations for %d detections", n, found)
	}
}

// Head and NMS take a small part of what a run takes; BenchmarkFrame has the figures.
func TestPostProcessingIsASmallPartOfARun(t *testing.T) {
	e := openNanoDet(t, Options{Providers: []string{"cpu"}, MaxBatch: 1})
	in, img := e.Model().Input, loadPNG(t, golden(t).Images[2])
	infer.NewNormalizer(in).Convert(e.Input(0), img.rounded(in.View()))
	var post infer.Postprocessor
	d, found := &infer.Detect{Threshold: 0.25, IoU: infer.DefaultIoU}, 0
	best := func(step func()) time.Duration {
		least := time.Hour
		for range 10 {
			start := time.Now()
			step()
			least = min(least, time.Since(start))
		}
		return least
	}
	run := best(func() {
		if err := e.Run(1); err != nil {
			t.Fatal(err)
		}
	})
	after := best(func() { found = len(post.Detect(e, 0, d, in.View().Place(img.w, img.h))) })
	t.Logf("run %v, head and NMS %v, %.1f %%, %d detections", run, after, 100*float64(after)/float64(run), found)
	if after*4 > run || found == 0 { // eight times the aim of 3 %: the race detector slows only our part
		t.Errorf("head and NMS take %v of a run of %v", after, run)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

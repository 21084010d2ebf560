//go:build cgo && gpu

package ort

import (
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"detections/infer"
)

// The tests of this file need a GPU, and a build of ONNX Runtime for it in ORT_LIBRARY:
// deploy/gpu-check.sh runs them. What a provider may differ by from the processors:
var tolerances = map[string]float64{"cuda fp32": 1e-3, "tensorrt fp32": 1e-3, "tensorrt fp16": 2e-2, "tensorrt int8": 0.3}

// onGPU opens the model on a provider, built if need be, and nowhere else.
func onGPU(t *testing.T, kind, cache string) infer.Engine {
	t.Helper()
	model, m := must(nanodet()), must(described())
	provider, precision, _ := strings.Cut(kind, " ")
	o := Options{Providers: []string{provider}, Precision: precision, MaxBatch: 8, Cache: cache, TensorRT: TensorRT{Level: 1}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	begun := time.Now()
	built, err := IsBuilt(m, o)
	if err != nil {
		t.Fatal(err)
	}
	if !built {
		if err := Build(model, m, o); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was built in %v", kind, time.Since(begun))
	}
	begun = time.Now()
	e, err := Open(model, m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	t.Logf("%s was opened in %v", kind, time.Since(begun))
	if id := e.Identity(); id.Provider != provider || id.Precision != precision {
		t.Errorf("identity %s", id)
	}
	return e
}

// Every provider and precision says of real pictures what the processors say, alone and
// in every size of batch, cold and warm.
func TestGPUAgreesWithTheProcessors(t *testing.T) {
	cpu := openNanoDet(t, Options{Providers: []string{"cpu"}, MaxBatch: 1})
	in := cpu.Model().Input
	pixels := infer.NewNormalizer(in)
	for kind, tolerance := range tolerances {
		t.Run(strings.ReplaceAll(kind, " ", "-"), func(t *testing.T) {
			if strings.HasSuffix(kind, "int8") {
				t.Log("without scales in the model: only that it does not fail is looked at")
			}
			e := onGPU(t, kind, t.TempDir())
			pictures := golden(t).Images
			for range 2 {
				for n := 1; n <= e.MaxBatch(); n++ {
					for i := range n {
						pixels.Convert(e.Input(i), loadPNG(t, pictures[i%len(pictures)]).rounded(in.View()))
					}
					if err := e.Run(n); err != nil {
						t.Fatal(err)
					}
					for i := range n {
						pixels.Convert(cpu.Input(0), loadPNG(t, pictures[i%len(pictures)]).rounded(in.View()))
						if err := cpu.Run(1); err != nil {
							t.Fatal(err)
						}
						if d := apart(e.Output(0, i), cpu.Output(0, 0)); d > tolerance && !strings.HasSuffix(kind, "int8") {
							t.Errorf("picture %d of %d: scores differ by %g, at most %g is expected", i, n, d, tolerance)
						}
					}
				}
				if w := e.(*engine).warmth; w != nil {
					<-w.done
				}
			}
		})
	}
}

func apart(a, b []float32) (most float64) {
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return most
}

// What was built is loaded without building: in a fraction of the time, also by another
// session, and not for other settings.
func TestGPUTensorRTIsNotBuiltTwice(t *testing.T) {
	model, m, cache := must(nanodet()), must(described()), t.TempDir()
	o := Options{Providers: []string{"tensorrt"}, Precision: "fp16", MaxBatch: 4, Cache: cache, TensorRT: TensorRT{Level: 3}}
	begun := time.Now()
	if err := Build(model, m, o); err != nil {
		t.Fatal(err)
	}
	build := time.Since(begun)
	for range 2 {
		begun = time.Now()
		e, err := Open(model, m, o)
		if err != nil {
			t.Fatal(err)
		}
		open := time.Since(begun)
		t.Logf("built in %v, opened in %v", build, open)
		if open > build/2 {
			t.Errorf("opened in %v after it was built in %v: it is built again?", open, build)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	o.MaxBatch = 8
	if built, err := IsBuilt(m, o); built || err != nil {
		t.Errorf("built for another largest batch: %v, %v", built, err)
	}
	k := must(keyOf(m, &o))
	if k.GPU == "" || k.Driver == "" || !slices.ContainsFunc(k.Libraries, func(l string) bool { return strings.HasPrefix(l, "libnvinfer.so.") }) {
		t.Errorf("key %+v lacks what engines depend on", k)
	}
}

//go:build cgo && gpu

package ort

import (
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"detections/infer"
)

// The tests of this file need a GPU, and a build of ONNX Runtime for it in ORT_LIBRARY:
// deploy/gpu-check.sh runs them, those of a provider by its name.

// onGPU opens the model on a provider, built if need be, and nowhere else.
func onGPU(t testing.TB, provider, precision string, maxBatch int) infer.Engine {
	t.Helper()
	model, m := must(nanodet()), must(described())
	o := Options{Providers: []string{provider}, Precision: precision, MaxBatch: maxBatch, Cache: t.TempDir(), TensorRT: TensorRT{Level: 1}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	begun := time.Now()
	built, err := IsBuilt(m, o)
	if err != nil {
		t.Fatal(err)
	}
	if !built {
		if err := Build(model, m, o); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s was built in %v", provider, time.Since(begun))
	}
	begun = time.Now()
	e, err := Open(model, m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%s %s was opened in %v", provider, precision, time.Since(begun))
	if id := e.Identity(); id.Provider != provider || id.Precision != precision {
		t.Errorf("identity %s", id)
	}
	return e
}

func TestGPUCUDAAgreesWithTheProcessors(t *testing.T) {
	t.Run("fp32", func(t *testing.T) { agrees(t, onGPU(t, "cuda", "fp32", 8), 1e-3) })
}

func TestGPUTensorRTAgreesWithTheProcessors(t *testing.T) {
	t.Run("fp32", func(t *testing.T) { agrees(t, onGPU(t, "tensorrt", "fp32", 8), 1e-3) })
	t.Run("fp16", func(t *testing.T) { agrees(t, onGPU(t, "tensorrt", "fp16", 8), 2e-2) })
	// Without scales in the model its scores mean nothing: it only must not fail.
	t.Run("int8", func(t *testing.T) { agrees(t, onGPU(t, "tensorrt", "int8", 8), math.Inf(1)) })
}

// agrees sees that an engine says of real pictures what the processors say, alone and in
// every size of batch, cold and warm.
func agrees(t *testing.T, e infer.Engine, tolerance float64) {
	t.Helper()
	cpu := openNanoDet(t, Options{Providers: []string{"cpu"}, MaxBatch: 1})
	in := cpu.Model().Input
	pixels := infer.NewNormalizer(in)
	var pictures [][]byte
	var want [][]float32
	for _, p := range golden(t).Images {
		pix := loadPNG(t, p).rounded(in.View())
		pixels.Convert(cpu.Input(0), pix)
		if err := cpu.Run(1); err != nil {
			t.Fatal(err)
		}
		pictures, want = append(pictures, pix), append(want, slices.Clone(cpu.Output(0, 0)))
	}
	most := 0.0
	for range 2 {
		for n := 1; n <= e.MaxBatch(); n++ {
			for i := range n {
				pixels.Convert(e.Input(i), pictures[(n+i)%len(pictures)])
			}
			if err := e.Run(n); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				d := apart(e.Output(0, i), want[(n+i)%len(pictures)])
				if most = max(most, d); !(d <= tolerance) {
					t.Errorf("picture %d of %d: scores differ by %g, at most %g is expected", i, n, d, tolerance)
				}
			}
		}
		e.(*engine).Warm()
	}
	t.Logf("scores differ by %g", most)
}

func apart(a, b []float32) (most float64) {
	for i := range a {
		most = max(most, math.Abs(float64(a[i]-b[i])))
	}
	return most
}

// Tensors are in memory that the GPU reads by itself, and can be opened and closed often.
func TestGPUCUDATensorsArePinned(t *testing.T) {
	for range 3 {
		e := onGPU(t, "cuda", "fp32", 2).(*engine)
		if len(e.pinned) != 1+len(e.outputs) {
			t.Errorf("%d of %d tensors are pinned", len(e.pinned), 1+len(e.outputs))
		}
	}
}

// BenchmarkGPUCUDA is one engine on the GPU: images/s of each size of batch, with tensors
// in pinned memory and in other.
func BenchmarkGPUCUDA(b *testing.B) { benchmarkGPU(b, "cuda", "fp32") }

// BenchmarkGPUTensorRT is the same with TensorRT.
func BenchmarkGPUTensorRT(b *testing.B) {
	for _, precision := range []string{"fp32", "fp16"} {
		b.Run(precision, func(b *testing.B) { benchmarkGPU(b, "tensorrt", precision) })
	}
}

func benchmarkGPU(b *testing.B, provider, precision string) {
	defer func() { pinning = true }()
	for _, pinning = range []bool{false, true} {
		e := onGPU(b, provider, precision, 32)
		e.(*engine).Warm()
		for n := 1; n <= e.MaxBatch(); n *= 2 {
			b.Run(fmt.Sprintf("pinned=%v/batch=%d", pinning, n), func(b *testing.B) {
				for b.Loop() {
					if err := e.Run(n); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "images/s")
			})
		}
	}
}

// BenchmarkGPUCUDAOpen is how long it takes until an engine serves, and until all sizes of
// batch are warm, and what GPU memory it takes, by how cuDNN's kernels are chosen.
func BenchmarkGPUCUDAOpen(b *testing.B) {
	before := cudaSettings
	defer func() { cudaSettings = before }()
	for _, c := range [][2]string{{"EXHAUSTIVE", "1"}, {"HEURISTIC", "1"}, {"HEURISTIC", "0"}} {
		b.Run(fmt.Sprintf("search=%s/workspace=%s", c[0], c[1]), func(b *testing.B) {
			cudaSettings = maps.Clone(before)
			cudaSettings["cudnn_conv_algo_search"], cudaSettings["cudnn_conv_use_max_workspace"] = c[0], c[1]
			var open, warm time.Duration
			for b.Loop() {
				free, begun := usedMiB(b), time.Now()
				e := onGPU(b, "cuda", "fp32", 16)
				open += time.Since(begun)
				e.(*engine).Warm()
				warm += time.Since(begun)
				for _, n := range []int{1, 16} {
					m, err := infer.Measure([]infer.Engine{e}, n, time.Second)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(m.PerSecond(), fmt.Sprintf("images/s-of-%d", n))
				}
				b.ReportMetric(usedMiB(b)-free, "MiB")
			}
			b.ReportMetric(float64(open.Milliseconds())/float64(b.N), "open-ms")
			b.ReportMetric(float64(warm.Milliseconds())/float64(b.N), "warm-ms")
		})
	}
}

// usedMiB is how much of the GPU's memory is taken.
func usedMiB(b *testing.B) float64 {
	b.Helper()
	text, err := exec.Command("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits").Output()
	if err != nil {
		b.Fatal(err)
	}
	return float64(must(strconv.Atoi(strings.TrimSpace(strings.SplitN(string(text), "\n", 2)[0]))))
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

// A machine is told by its driver, as engines' keys need it.
func TestGPUCUDAMachineIsKnown(t *testing.T) {
	onGPU(t, "cuda", "fp32", 1) // loads the libraries
	gpu, driver := gpuOf(machine.root, 0)
	libraries := loadedLibraries(machine.root)
	t.Logf("%q, driver %q, %v", gpu, driver, libraries)
	if gpu == "" || driver == "" || len(libraries) == 0 {
		t.Error("something is not known")
	}
}

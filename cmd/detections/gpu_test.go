//go:build gpu

package main_test

import (
	"encoding/json"
	"math"
	"slices"
	"syscall"
	"testing"
	"time"
)

// The tests of this file need a GPU, and a build of ONNX Runtime for it in ORT_LIBRARY:
// deploy/gpu-check.sh runs them, those of a provider by its name.

// A video's detections from the GPU are those from the processors.
func TestGPUCUDASeesWhatTheProcessorsSee(t *testing.T) {
	var seen [2][][]float64
	for i, provider := range []string{"cpu", "cuda"} {
		p := start(t, nil, "--providers", provider)
		begun := time.Now()
		p.await("engine ready")
		t.Logf("%s: ready %v after it served", provider, time.Since(begun))
		if h := p.model("GET", "/health", ""); h.Provider != provider || h.AIAvailability != "ENABLED" {
			t.Errorf("%+v", h)
		}
		clip := read(t, "people.mp4")
		up := p.upload("", clip[:len(clip)/2])
		up.rest(clip[len(clip)/2:])
		for _, m := range up.log {
			if m.Type == "detections" {
				seen[i] = append(seen[i], m.confidences(t))
			}
		}
	}
	const near = 0.01
	apart, most := 0, 0.0
	for i := range min(len(seen[0]), len(seen[1])) {
		cpu, gpu := seen[0][i], seen[1][i]
		if len(cpu) != len(gpu) {
			apart++ // one is just above the threshold
			continue
		}
		for k := range cpu {
			if most = max(most, math.Abs(cpu[k]-gpu[k])); math.Abs(cpu[k]-gpu[k]) > near {
				t.Errorf("frame %d: %v, %v", i, cpu, gpu)
				break
			}
		}
	}
	t.Logf("%d and %d frames, %d with another number of objects, confidences differ by %g", len(seen[0]), len(seen[1]), apart, most)
	if len(seen[0]) != 100 || len(seen[1]) != len(seen[0]) || apart > 2 {
		t.Error("that is not the same")
	}
}

// confidences are those of a result, in falling order.
func (a answer) confidences(t *testing.T) (all []float64) {
	t.Helper()
	var found []struct{ Confidence float64 }
	if err := json.Unmarshal(a.Detections, &found); err != nil {
		t.Error(err)
	}
	for _, d := range found {
		all = append(all, d.Confidence)
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

// Where TensorRT cannot be loaded a hub says why and serves on CUDA.
func TestGPUCUDAServesIfTensorRTCannot(t *testing.T) {
	p := serve(t, "--providers", "tensorrt,cuda,cpu")
	h := p.model("GET", "/health", "")
	t.Logf("%+v", h.Providers)
	for _, provider := range h.Providers {
		if provider.Name == "tensorrt" && provider.State != "failed" {
			return // it can: the tests of TensorRT say the rest
		}
		if provider.Name == "tensorrt" && provider.Reason == "" {
			t.Error("without a reason")
		}
	}
	if h.Provider != "cuda" {
		t.Errorf("%+v", h)
	}
}

// The model is changed on the GPU while it serves, as on the processors.
func TestGPUCUDASwapsUnderLoad(t *testing.T) { testSwaps(t, &realVersions, 10, "--providers", "cuda") }

// A signal ends a hub whose GPU is at work.
func TestGPUCUDAEndsAtOnce(t *testing.T) {
	p := serve(t, "--providers", "cuda")
	if h := p.model("POST", "/detect", string(read(t, "frame.jpg"))); h.Code != "" {
		t.Errorf("%+v", h)
	}
	begun := time.Now()
	p.signal(syscall.SIGTERM)
	if status := p.exit(); status != 0 || time.Since(begun) > 5*time.Second {
		t.Errorf("exit status %d after %v", status, time.Since(begun))
	}
}

// While TensorRT builds, another provider serves; then it does, without a restart.
func TestGPUTensorRTIsNeverDark(t *testing.T) {
	p := start(t, nil, "--providers", "tensorrt,cuda,cpu", "--precision", "fp16")
	p.await("engine ready")
	first := p.model("GET", "/health", "")
	if first.AIAvailability != "ENABLED" || first.Provider == "tensorrt" {
		t.Errorf("first %+v", first)
	}
	for begun := time.Now(); ; time.Sleep(time.Second) {
		h := p.model("GET", "/health", "")
		if h.Provider == "tensorrt" {
			break
		}
		for _, provider := range h.Providers {
			if provider.State == "failed" {
				t.Fatalf("%+v", provider)
			}
		}
		if h := p.model("POST", "/detect", string(read(t, "frame.jpg"))); h.Code != "" {
			t.Errorf("a picture meanwhile: %+v", h)
		}
		if time.Since(begun) > 30*time.Minute {
			t.Fatal("TensorRT does not serve")
		}
	}
}

// A signal does not wait for a builder.
func TestGPUTensorRTBuilderDoesNotHoldUpASignal(t *testing.T) {
	p := start(t, nil, "--providers", "tensorrt,cuda,cpu", "--trt-level", "5")
	p.await("building engines")
	time.Sleep(2 * time.Second)
	begun := time.Now()
	p.signal(syscall.SIGTERM)
	if status := p.exit(); status != 0 || time.Since(begun) > 5*time.Second {
		t.Errorf("exit status %d after %v", status, time.Since(begun))
	}
}

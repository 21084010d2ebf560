//go:build gpu

package main_test

import (
	"syscall"
	"testing"
	"time"
)

// The tests of this file need a GPU, and a build of ONNX Runtime for it in ORT_LIBRARY:
// deploy/gpu-check.sh runs them.

// While TensorRT builds, another provider serves; then it does, without a restart.
func TestGPUIsNeverDark(t *testing.T) {
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
		if all := p.curl("-F", "file=@"+media(t, "frame.jpg"), p.url+"/detect"); len(all) != 1 || all[0].Code != "" {
			t.Errorf("a picture meanwhile: %+v", all)
		}
		if time.Since(begun) > 30*time.Minute {
			t.Fatal("TensorRT does not serve")
		}
	}
}

// A signal does not wait for a builder.
func TestGPUBuilderDoesNotHoldUpASignal(t *testing.T) {
	p := start(t, nil, "--providers", "tensorrt,cuda,cpu", "--trt-level", "5")
	p.await("building engines")
	time.Sleep(2 * time.Second)
	begun := time.Now()
	p.signal(syscall.SIGTERM)
	if status := p.exit(); status != 0 || time.Since(begun) > 5*time.Second {
		t.Errorf("exit status %d after %v", status, time.Since(begun))
	}
}

// The model is changed on the GPU while it serves, as on the processors.
func TestGPUSwapsUnderLoad(t *testing.T) { testSwaps(t, &realVersions, 10, "--providers", "cuda") }

//go:build cgo

package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	onnx "github.com/yalue/onnxruntime_go"
)

// minVersion is the oldest ONNX Runtime with the API that the binding asks for
// (ORT_API_VERSION 24 in onnxruntime_go 1.27).
const minVersion = "1.24"

var library struct {
	mu   sync.Mutex
	path string // of the loaded library; empty: none
}

// Init loads ONNX Runtime's shared library, unless it is loaded already. An empty
// path means: libonnxruntime.so beside the executable, else wherever the system's
// loader finds one. A process can use one library only: another path than the
// first successful one is an error. After an error Init may be called again.
func Init(path string) error {
	library.mu.Lock()
	defer library.mu.Unlock()
	if library.path != "" {
		if path != "" && path != library.path {
			return fmt.Errorf("onnx runtime: %s is loaded already, %s cannot be", library.path, path)
		}
		return nil
	}
	var failed []string
	for _, p := range candidates(path) {
		err := loadLibrary(p)
		if err == nil {
			library.path = p
			return nil
		}
		failed = append(failed, err.Error())
	}
	return fmt.Errorf("onnx runtime: no usable shared library: %s", strings.Join(failed, "; "))
}

// Version is the version of the loaded library and where it came from.
func Version() (version, path string) {
	library.mu.Lock()
	defer library.mu.Unlock()
	if library.path == "" {
		return "", ""
	}
	return onnx.GetVersion(), library.path
}

func candidates(path string) []string {
	if path != "" {
		return []string{path}
	}
	var all []string
	if exe, err := os.Executable(); err == nil {
		all = append(all, filepath.Join(filepath.Dir(exe), "libonnxruntime.so"))
	}
	return append(all, "libonnxruntime.so.1", "libonnxruntime.so")
}

func loadLibrary(path string) error {
	if strings.Contains(path, "/") {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	// Builds that Microsoft distributes report use to mobile.events.data.microsoft.com
	// and keep a device id in the temporary folder, unless told not to before they are loaded.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return fmt.Errorf("switch telemetry off: %w", err)
	}
	// TensorRT and cuBLAS round the inputs of products to 10 bits (TF32) on a GPU that can,
	// unless told not to: that would not be fp32. Whoever wants it faster has fp16.
	if err := os.Setenv("NVIDIA_TF32_OVERRIDE", "0"); err != nil {
		return fmt.Errorf("switch TF32 off: %w", err)
	}
	onnx.SetSharedLibraryPath(path)
	err := onnx.InitializeEnvironment(onnx.WithLogLevelWarning())
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "ORT API base: 2"):
		return fmt.Errorf("%s: too old, version %s or newer is needed", path, minVersion)
	case strings.Contains(err.Error(), "OrtGetApiBase"):
		return fmt.Errorf("%s: is not ONNX Runtime", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

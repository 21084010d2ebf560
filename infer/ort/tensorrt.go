//go:build cgo

package ort

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	onnx "github.com/yalue/onnxruntime_go"

	"detections/infer"
)

// TensorRT compiles a model for one GPU, which takes minutes. So that is done ahead, by
// [Build], in a process of its own, and what comes out is kept: an ONNX file with one
// node that has the compiled engine in it ("EP context"), from which a session is made
// without compiling anything. [Open] uses such a file and never compiles.
//
//	<cache>/<model>-<key>/engine.onnx   the engine
//	<cache>/<model>-<key>/key.json      [key]; written last
//	<cache>/timing/                     TensorRT's measurements of kernels, for the next build
//
// It has not been run on hardware yet, CUDA has; deploy/gpu-check.sh runs both.

// TensorRT are the settings of that provider.
type TensorRT struct {
	// Level is how thoroughly it builds, 0 to 5.
	Level int
	// Workspace bounds the GPU memory that it may use, in bytes; 0: what there is.
	Workspace int64
	// OptBatch is the number of images for which the engine is best; 0: MaxBatch.
	OptBatch int
	// Int8Table is the path of a calibration table; empty: the model has its own scales.
	Int8Table string
}

// key is everything that an engine depends on.
type key struct {
	Model     string            `json:"model"` // SHA-256
	Provider  string            `json:"provider"`
	Runtime   string            `json:"onnxruntime"`
	Libraries []string          `json:"libraries"` // file names, with their versions
	GPU       string            `json:"gpu"`
	Driver    string            `json:"driver"`
	Settings  map[string]string `json:"settings"` // with the shapes
	Int8Table string            `json:"int8_table,omitempty"`
}

// sum names the key in 16 hexadecimal digits.
func (k *key) sum() string {
	b, err := json.Marshal(k)
	if err != nil {
		panic(err) // it holds text only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// keyOf is the key of a model's engine here. The libraries must be loaded.
func keyOf(m *infer.Model, opts *Options) (*key, error) {
	settings, err := tensorRTSettings(m, opts)
	if err != nil {
		return nil, err
	}
	version, _ := Version()
	k := &key{Model: m.SHA256, Provider: "tensorrt", Runtime: version, Settings: settings}
	k.Libraries = loadedLibraries(machine.root)
	k.GPU, k.Driver = gpuOf(machine.root, opts.Device)
	if path := opts.TensorRT.Int8Table; path != "" {
		table, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the file
		if err != nil {
			return nil, fmt.Errorf("calibration table: %w", err)
		}
		sum := sha256.Sum256(table)
		k.Int8Table = hex.EncodeToString(sum[:])
	}
	return k, nil
}

// machine is what differs between the hardware and a stand-in for it.
var machine = struct {
	root  string // of the file system
	probe func(opts *Options) error
	add   func(o *onnx.SessionOptions, settings map[string]string, device string) error
	cuda  func(o *onnx.SessionOptions, device string) error
}{"/", probeTensorRT, addTensorRTAndCUDA, addCUDA}

// probeTensorRT says why TensorRT cannot be used at all. It loads its libraries.
func probeTensorRT(opts *Options) error {
	o, err := onnx.NewSessionOptions()
	if err != nil {
		return err
	}
	defer destroy(o)
	device := strconv.Itoa(opts.Device)
	return addTensorRTAndCUDA(o, map[string]string{"device_id": device}, device)
}

// addTensorRTAndCUDA lets CUDA do what TensorRT cannot.
func addTensorRTAndCUDA(o *onnx.SessionOptions, settings map[string]string, device string) error {
	if err := addTensorRT(o, settings); err != nil {
		return err
	}
	return addCUDA(o, device)
}

// IsBuilt says whether Open has what the first provider of opts needs. An error says why
// that provider cannot be used here at all.
func IsBuilt(m *infer.Model, opts Options) (bool, error) {
	if len(opts.Providers) != 1 || opts.Providers[0] != "tensorrt" || opts.Cache == "" {
		return true, nil
	}
	opts.defaults()
	if _, err := newProvider("tensorrt", m, &opts); err != nil {
		return false, err
	}
	if err := machine.probe(&opts); err != nil {
		return false, errors.New(short(err))
	}
	k, err := keyOf(m, &opts)
	if err != nil {
		return false, err
	}
	_, err = readEngine(k, &opts)
	if errors.Is(err, errNotBuilt) {
		return false, nil
	}
	return err == nil, err
}

var errNotBuilt = errors.New("no engine has been built for this model, GPU and settings; detections model build does it")

func (k *key) folder(cache string) string {
	return filepath.Join(cache, fmt.Sprintf("%.12s-%s", k.Model, k.sum()))
}

// readEngine gives a finished engine.
func readEngine(k *key, opts *Options) ([]byte, error) {
	dir := k.folder(opts.Cache)
	text, err := os.ReadFile(filepath.Join(dir, "key.json")) //nolint:gosec // G304: in the cache
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotBuilt
	}
	if err != nil {
		return nil, err
	}
	var of key
	if err := json.Unmarshal(text, &of); err != nil || of.sum() != k.sum() {
		return nil, errNotBuilt // it is damaged, and built again
	}
	return os.ReadFile(filepath.Join(dir, "engine.onnx")) //nolint:gosec // G304: in the cache
}

// Build builds what Open needs for the first provider of opts, which takes minutes and
// cannot be interrupted but by ending the process.
func Build(model []byte, m *infer.Model, opts Options) error {
	opts.defaults()
	if _, err := newProvider("tensorrt", m, &opts); err != nil {
		return err
	}
	if err := machine.probe(&opts); err != nil {
		return errors.New(short(err))
	}
	k, err := keyOf(m, &opts)
	if err != nil {
		return err
	}
	for _, dir := range []string{opts.Cache, filepath.Join(opts.Cache, "timing")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	next, err := os.MkdirTemp(opts.Cache, ".next-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next) //nolint:errcheck // another try makes another one
	settings := maps.Clone(k.Settings)
	settings["trt_timing_cache_enable"], settings["trt_timing_cache_path"] = "1", filepath.Join(opts.Cache, "timing")
	settings["trt_dump_ep_context_model"], settings["trt_ep_context_embed_mode"] = "1", "1"
	settings["trt_ep_context_file_path"] = filepath.Join(next, "engine.onnx")
	p := &provider{gpu: true, options: sessionOptions{threads: 1, optimise: true}}
	p.options.add = append(p.options.add, func(o *onnx.SessionOptions) error {
		return machine.add(o, settings, strconv.Itoa(opts.Device))
	})
	s, err := p.session(model, m, slog.New(slog.DiscardHandler))
	if err != nil {
		return errors.New(short(err))
	}
	destroy(s)
	if st, err := os.Stat(filepath.Join(next, "engine.onnx")); err != nil || st.Size() == 0 {
		return fmt.Errorf("TensorRT has left no engine in %s", next)
	}
	text, err := json.MarshalIndent(k, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(next, "key.json"), text, 0o600)
	}
	if err != nil {
		return err
	}
	dir := k.folder(opts.Cache)
	return errors.Join(os.RemoveAll(dir), os.Rename(next, dir))
}

// useBuilt has a provider load a finished engine instead of compiling the model.
func (p *provider) useBuilt(m *infer.Model, opts *Options) error {
	k, err := keyOf(m, opts)
	if err != nil {
		return err
	}
	p.built, err = readEngine(k, opts)
	return err
}

// tensorRTSettings ask for one engine that takes 1 to MaxBatch images and is fastest
// with OptBatch. Everything in it is part of the engine's key.
func tensorRTSettings(m *infer.Model, opts *Options) (map[string]string, error) {
	shape := func(n int) string {
		d := m.Input.Shape(n)
		return fmt.Sprintf("%s:%dx%dx%dx%d", m.Input.Name, d[0], d[1], d[2], d[3])
	}
	best := opts.MaxBatch
	if n := opts.TensorRT.OptBatch; n > 0 {
		if n > opts.MaxBatch {
			return nil, fmt.Errorf("best at %d images, expected at most the largest batch, %d", n, opts.MaxBatch)
		}
		best = n
	}
	s := map[string]string{
		"device_id":                         strconv.Itoa(opts.Device),
		"trt_profile_min_shapes":            shape(max(1, m.Batch)),
		"trt_profile_opt_shapes":            shape(max(best, m.Batch)),
		"trt_profile_max_shapes":            shape(opts.MaxBatch),
		"trt_fp16_enable":                   oneIf(opts.Precision != "fp32"), // int8 falls back to it layer by layer
		"trt_int8_enable":                   oneIf(opts.Precision == "int8"),
		"trt_builder_optimization_level":    strconv.Itoa(opts.TensorRT.Level),
		"trt_context_memory_sharing_enable": "0",
	}
	if n := opts.TensorRT.Workspace; n > 0 {
		s["trt_max_workspace_size"] = strconv.FormatInt(n, 10)
	}
	if path := opts.TensorRT.Int8Table; path != "" {
		s["trt_int8_calibration_table_name"] = path
	}
	return s, nil
}

func oneIf(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// gpuLibraries are those whose versions an engine depends on.
var gpuLibraries = []string{"libnvinfer.so", "libcudart.so", "libonnxruntime_providers_tensorrt.so"}

// loadedLibraries are the names of the files, which carry the versions, of the libraries
// of a GPU that this process has loaded.
func loadedLibraries(root string) []string {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/maps")) //nolint:gosec // G304: the kernel's
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var all []string
	for line := range strings.Lines(string(text)) {
		i := strings.IndexByte(line, '/')
		if i < 0 {
			continue
		}
		name := filepath.Base(strings.TrimSpace(line[i:]))
		for _, lib := range gpuLibraries {
			if strings.HasPrefix(name, lib) && !seen[name] {
				seen[name] = true
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// gpuOf is the model of a GPU and the version of its driver, as the driver tells them.
func gpuOf(root string, device int) (gpu, driver string) {
	paths, err := filepath.Glob(filepath.Join(root, "proc/driver/nvidia/gpus/*/information"))
	if err == nil && device < len(paths) { // in the order of their places on the bus, which is CUDA's if CUDA_DEVICE_ORDER=PCI_BUS_ID
		text, _ := os.ReadFile(paths[device]) //nolint:gosec // G304: the kernel's
		for line := range strings.Lines(string(text)) {
			if model, ok := strings.CutPrefix(line, "Model:"); ok {
				gpu = strings.TrimSpace(model)
			}
		}
	}
	text, _ := os.ReadFile(filepath.Join(root, "sys/module/nvidia/version")) //nolint:gosec // G304: the kernel's
	return gpu, strings.TrimSpace(string(text))
}

//go:build cgo

package ort

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	onnx "github.com/yalue/onnxruntime_go"
)

// standIn imitates a machine with a GPU on which TensorRT "builds" by copying the model,
// and runs on the processors. It gives what was asked of it.
func standIn(t *testing.T, model []byte) (asked *[]map[string]string, root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{
		"proc/self/maps": "7f01 r-xp 00000000 08:01 42 /usr/lib/libnvinfer.so.10.3.0\n7f02 r--p 00000000 08:01 42 /usr/lib/libnvinfer.so.10.3.0\n" +
			"7f03 r-xp 00000000 08:01 43 /usr/lib/libcudart.so.12.6.77\n7f04 rw-p 00000000 00:00 0\n7f05 r-xp 00000000 08:01 44 /usr/lib/libc.so.6\n",
		"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H100\nIRQ: 42\n",
		"proc/driver/nvidia/gpus/0000:02:00.0/information": "Model: \t\t NVIDIA L4\n",
		"sys/module/nvidia/version":                        "550.54.15\n",
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	before := machine
	t.Cleanup(func() { machine = before })
	asked = new([]map[string]string)
	machine.root = root
	machine.probe = func(*Options) error { return nil }
	machine.add = func(_ *onnx.SessionOptions, settings map[string]string, _ string) error {
		*asked = append(*asked, settings)
		if path := settings["trt_ep_context_file_path"]; path != "" {
			return os.WriteFile(path, model, 0o600)
		}
		return nil
	}
	return asked, root
}

func onTensorRT(t *testing.T, change func(*Options)) Options {
	o := Options{Providers: []string{"tensorrt"}, MaxBatch: 4, Cache: filepath.Join(t.TempDir(), "engines"), TensorRT: TensorRT{Level: 3}}
	if change != nil {
		change(&o)
	}
	return o
}

func TestTensorRTIsBuiltAheadAndOnlyLoaded(t *testing.T) {
	model, m := must(nanodet()), must(described())
	asked, _ := standIn(t, model)
	o := onTensorRT(t, func(o *Options) {
		o.Precision, o.TensorRT = "fp16", TensorRT{Level: 5, Workspace: 1 << 30, OptBatch: 2}
	})
	if built, err := IsBuilt(m, o); built || err != nil {
		t.Fatalf("built before it was: %v, %v", built, err)
	}
	if _, err := Open(model, m, o); err == nil || !strings.Contains(err.Error(), "detections model build does it") {
		t.Errorf("opened without an engine: %v", err)
	}
	if len(*asked) != 0 {
		t.Errorf("a session was asked for: %v", *asked)
	}
	if err := Build(model, m, o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"trt_profile_min_shapes": ":1x3x416x416", "trt_profile_opt_shapes": ":2x3x416x416", "trt_profile_max_shapes": ":4x3x416x416",
		"trt_fp16_enable": "1", "trt_int8_enable": "0", "trt_builder_optimization_level": "5", "trt_max_workspace_size": "1073741824",
		"trt_timing_cache_enable": "1", "trt_dump_ep_context_model": "1", "trt_ep_context_embed_mode": "1",
	} {
		if got := (*asked)[0][name]; !strings.HasSuffix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	*asked = nil
	if built, err := IsBuilt(m, o); !built || err != nil {
		t.Fatalf("built: %v, %v", built, err)
	}
	e, err := Open(model, m, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range *asked {
		if s["trt_dump_ep_context_model"] != "" || s["trt_timing_cache_enable"] != "" {
			t.Errorf("Open builds: %v", s)
		}
	}
	if id := e.Identity(); id.Provider != "tensorrt" || id.Precision != "fp16" {
		t.Errorf("identity %s", id)
	}
	if err := errors.Join(e.Run(4), e.Close()); err != nil {
		t.Error(err)
	}
}

// On a GPU, sizes of batch between one and the most warm up while the engine serves; what
// it says does not depend on that.
func TestSizesOfBatchWarmUpInTheBackground(t *testing.T) {
	model, m := must(nanodet()), must(described())
	standIn(t, model)
	o := onTensorRT(t, func(o *Options) { o.MaxBatch = 5 })
	if err := Build(model, m, o); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(model, m, o)
	if err != nil {
		t.Fatal(err)
	}
	e := opened.(*engine) //nolint:forcetypeassert // what Open gives
	defer e.Close()
	var first [][]float32
	for n := 1; n <= 5; n++ { // some sizes may be cold
		if err := e.Run(n); err != nil {
			t.Fatal(err)
		}
		first = append(first, slices.Clone(e.Output(0, n-1)))
	}
	e.Warm()
	for n := 1; n <= 5; n++ {
		if size := e.batch(n).images; size != n {
			t.Errorf("%d images are run as %d", n, size)
		}
		if err := e.Run(n); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(first[n-1], e.Output(0, n-1)) {
			t.Errorf("a batch of %d says something else when it is warm", n)
		}
	}
	e.batches[2].warm.Store(false)
	e.batches[3].warm.Store(false)
	if size := e.batch(3).images; size != 5 {
		t.Errorf("3 cold images are run as %d", size)
	}
}

// CUDA has a session for each of a few sizes of run, and other numbers of images are run as
// the next larger one; what it says does not depend on that.
func TestCUDAHasASessionForEachSizeOfRun(t *testing.T) {
	standIn(t, must(nanodet()))
	machine.cuda = func(*onnx.SessionOptions, string) error { return nil }
	e := openNanoDet(t, Options{Providers: []string{"cuda"}, MaxBatch: 6}).(*engine) //nolint:forcetypeassert // what Open gives
	e.Warm()
	if len(e.sessions) != 4 {
		t.Errorf("%d sessions", len(e.sessions))
	}
	for i := range 6 {
		copy(e.Input(i), e.Input(0))
	}
	for n, want := range []int{1, 2, 4, 4, 6, 6} {
		b := e.batch(n + 1)
		if b.images != want || e.RunsAs(n+1) != want || b.session == nil {
			t.Errorf("%d images are run as %d", n+1, b.images)
		}
		if err := e.Run(n + 1); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.Output(0, n), e.Output(0, 0)) {
			t.Errorf("the last of %d images says something else than the first", n+1)
		}
	}
}

// If a GPU's memory is full there is no engine, or one that serves with the sizes of run that
// it got. A session asks twice: for all of the model on the GPU, and then for some.
func TestSessionsOfWhichSomeCannotBeMade(t *testing.T) {
	standIn(t, must(nanodet()))
	var asked atomic.Int64
	full := errors.New("CUDA failure 2: out of memory")
	for _, c := range []struct {
		sessions int64
		ready    bool
	}{{0, false}, {1, false}, {2, true}} {
		asked.Store(0)
		machine.cuda = func(*onnx.SessionOptions, string) error {
			if asked.Add(1) > 2*c.sessions {
				return full
			}
			return nil
		}
		opened, err := Open(must(nanodet()), must(described()), Options{Providers: []string{"cuda"}, MaxBatch: 6})
		if c.ready != (err == nil) {
			t.Fatalf("with room for %d sessions: %v", c.sessions, err)
		}
		if err != nil {
			continue
		}
		e := opened.(*engine) //nolint:forcetypeassert // what Open gives
		e.Warm()
		for n, want := range []int{1, 6, 6, 6, 6, 6} {
			if err := e.Run(n + 1); err != nil || e.RunsAs(n+1) != want {
				t.Errorf("%d images are run as %d: %v", n+1, e.RunsAs(n+1), err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A GPU's engine can be closed while its sizes of run warm up.
func TestCloseWhileSizesOfRunWarmUp(t *testing.T) {
	standIn(t, must(nanodet()))
	var asked atomic.Int64
	warming, goOn := make(chan struct{}), make(chan struct{})
	machine.cuda = func(*onnx.SessionOptions, string) error {
		if asked.Add(1) == 5 { // the third session
			close(warming)
			<-goOn
		}
		return nil
	}
	e := must(Open(must(nanodet()), must(described()), Options{Providers: []string{"cuda"}, MaxBatch: 8})).(*engine) //nolint:forcetypeassert // what Open gives
	<-warming
	if err := e.Run(3); err != nil || e.RunsAs(3) != 8 {
		t.Errorf("3 images meanwhile are run as %d: %v", e.RunsAs(3), err)
	}
	closed := make(chan error)
	go func() { closed <- e.Close() }()
	<-e.warmth.stop // Close has begun
	close(goOn)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if len(e.sessions) != 3 {
		t.Errorf("%d sessions were made, 3 had begun", len(e.sessions))
	}
}

// An engine is used for nothing else than it was built for.
func TestTensorRTBuildsAnewForWhateverChanges(t *testing.T) {
	model, m := must(nanodet()), must(described())
	_, root := standIn(t, model)
	cache := t.TempDir()
	table := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(table, []byte("scales"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := onTensorRT(t, func(o *Options) { o.Cache = cache })
	if err := Build(model, m, base); err != nil {
		t.Fatal(err)
	}
	other := *m
	other.SHA256 = strings.Repeat("0", 64)
	// write changes a file of the machine.
	write := func(name, text string) func(*Options) {
		return func(*Options) {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, change := range map[string]func(*Options){
		"batch": func(o *Options) { o.MaxBatch = 8 }, "best batch": func(o *Options) { o.TensorRT.OptBatch = 1 },
		"precision": func(o *Options) { o.Precision = "fp16" }, "level": func(o *Options) { o.TensorRT.Level = 2 },
		"workspace": func(o *Options) { o.TensorRT.Workspace = 1 << 20 }, "device": func(o *Options) { o.Device = 1 },
		"table":   func(o *Options) { o.Precision, o.TensorRT.Int8Table = "int8", table },
		"library": write("proc/self/maps", "7f01 r-xp 00000000 08:01 42 /usr/lib/libnvinfer.so.10.4.0\n"),
		"driver":  write("sys/module/nvidia/version", "560\n"),
	} {
		t.Run(name, func(t *testing.T) {
			o := base
			change(&o)
			if built, err := IsBuilt(m, o); built || err != nil {
				t.Errorf("built: %v, %v", built, err)
			}
		})
		_, root = standIn(t, model)
	}
	if built, err := IsBuilt(&other, base); built || err != nil {
		t.Errorf("another model is built: %v, %v", built, err)
	}
	if built, err := IsBuilt(m, base); !built || err != nil {
		t.Errorf("the same is not built: %v, %v", built, err)
	}
	all := must(filepath.Glob(filepath.Join(cache, "*", "key.json")))
	if len(all) != 1 {
		t.Fatalf("keys %v", all)
	}
	if err := os.WriteFile(all[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if built, err := IsBuilt(m, base); built || err != nil {
		t.Errorf("a damaged one is built: %v, %v", built, err)
	}
}

func TestTensorRTThatCannotLoadSaysWhy(t *testing.T) {
	m := must(described())
	built, err := IsBuilt(m, onTensorRT(t, nil))
	if built || err == nil || !strings.Contains(err.Error(), "libonnxruntime_providers_") {
		t.Errorf("built %v, %v", built, err)
	}
	standIn(t, nil)
	for want, change := range map[string]func(*Options){
		"no precision bf16":         func(o *Options) { o.Precision = "bf16" },
		"at most the largest batch": func(o *Options) { o.TensorRT.OptBatch = 5 },
		"calibration table: ":       func(o *Options) { o.Precision, o.TensorRT.Int8Table = "int8", "/nowhere" },
	} {
		if _, err := IsBuilt(m, onTensorRT(t, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}

func TestTheLibrariesAndTheGPUAreToldApart(t *testing.T) {
	_, root := standIn(t, nil)
	if got := loadedLibraries(root); !slices.Equal(got, []string{"libcudart.so.12.6.77", "libnvinfer.so.10.3.0"}) {
		t.Errorf("libraries %v", got)
	}
	for device, want := range []string{"NVIDIA H100", "NVIDIA L4", ""} {
		if gpu, driver := gpuOf(root, device); gpu != want || driver != "550.54.15" {
			t.Errorf("device %d: %q, driver %q", device, gpu, driver)
		}
	}
}

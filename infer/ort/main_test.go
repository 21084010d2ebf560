//go:build cgo

package ort

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"detections/infer"
)

// early holds what Init said before it was given the right library: a process can
// load only one.
var early struct{ missing, foreign, old error }

func TestMain(m *testing.M) {
	early.missing = Init("/nowhere/libonnxruntime.so")
	early.foreign = Init("libm.so.6")
	early.old = initOld()
	if err := Init(os.Getenv("ORT_LIBRARY")); err != nil {
		fmt.Fprintf(os.Stderr, "%v\ndeploy/setup/onnxruntime.sh gets it and prints its path; set ORT_LIBRARY to that\n", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// initOld calls Init with a library that has no API of the version asked for. It passes for
// CUDA's runtime, too, and stays loaded, see cudart.
func initOld() error {
	dir, err := os.MkdirTemp("", "ort")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source, so := filepath.Join(dir, "old.c"), filepath.Join(dir, "old.so")
	const text = `
static const void *get(unsigned version) { return 0; }
static const char *text(void) { return "1.10.0"; }
static struct { const void *(*get)(unsigned); const char *(*text)(void); } base = {get, text};
void *OrtGetApiBase(void) { return &base; }`
	if err := os.WriteFile(source, []byte(text+cudart), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-Wl,-soname,libcudart.so.13,-z,nodelete", "-o", so, source).CombinedOutput(); err != nil {
		return fmt.Errorf("cc: %w: %s", err, out)
	}
	return Init(so)
}

func TestInitSaysWhatIsWrongWithALibrary(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{early.missing, "/nowhere/libonnxruntime.so: no such file"},
		{early.foreign, "libm.so.6: is not ONNX Runtime"},
		{early.old, "old.so: too old, version 1.24 or newer is needed"},
	} {
		if c.err == nil || !strings.Contains(strings.ReplaceAll(c.err.Error(), "stat /nowhere/libonnxruntime.so: ", ""), c.want) {
			t.Errorf("got %v, want %q", c.err, c.want)
		}
	}
}

func TestInitLoadsOneLibraryOnly(t *testing.T) {
	if err := Init(""); err != nil {
		t.Error(err)
	}
	if err := Init("/another.so"); err == nil {
		t.Error("another library was accepted")
	}
	if version, path := Version(); version == "" || path == "" {
		t.Errorf("version %q, path %q", version, path)
	}
}

// nanodet is the embedded model. It is read as a file: siblings do not import each
// other.
var nanodet = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile("../loader/nanodet-g-416.onnx")
})

var described = sync.OnceValues(func() (*infer.Model, error) {
	b, err := nanodet()
	if err != nil {
		return nil, err
	}
	return Describe(b, nil)
})

// openNanoDet opens the embedded model; the test closes it at its end.
func openNanoDet(t testing.TB, opts Options) infer.Engine {
	t.Helper()
	b, err := nanodet()
	if err != nil {
		t.Fatal(err)
	}
	m, err := described()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(b, m, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

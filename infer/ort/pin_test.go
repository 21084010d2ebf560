//go:build cgo

package ort

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	onnx "github.com/yalue/onnxruntime_go"
)

// cudart stands in for CUDA's runtime. It writes what it is asked to the file CUDART_LOG, with
// the thread's GPU, and refuses to lock memory if CUDART_FULL is set.
const cudart = `
#include <stdio.h>
#include <stdlib.h>
static __thread int device, last;
static int done(const char *what, size_t size, int status) {
	FILE *log = getenv("CUDART_LOG") ? fopen(getenv("CUDART_LOG"), "a") : NULL;
	if (log) {
		fprintf(log, "%s %zu on %d: %d\n", what, size, device, status);
		fclose(log);
	}
	return last = status;
}
int cudaSetDevice(int d) { device = d; return 0; }
int cudaHostRegister(void *p, size_t size, unsigned flags) { return done("lock", size, getenv("CUDART_FULL") ? 2 : 0); }
int cudaHostUnregister(void *p) { return done("unlock", 0, getenv("CUDART_FULL") ? 713 : 0); }
int cudaGetLastError(void) { int was = last; done("forget", 0, 0); return was; }
`

// openPinned opens an engine on a stand-in for the second GPU, lets between look at it, and closes it.
// It gives what the runtime was asked.
func openPinned(t *testing.T, between func(*engine)) (asked []string, closed error) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("CUDART_LOG", log)
	standIn(t, must(nanodet()))
	machine.cuda = func(*onnx.SessionOptions, string) error { return nil }
	e := must(Open(must(nanodet()), must(described()), Options{Providers: []string{"cuda"}, MaxBatch: 1, Device: 1})).(*engine) //nolint:forcetypeassert // what Open gives
	between(e)
	closed = e.Close()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n"), closed
}

// Tensors are locked on the GPU that uses them, whichever the thread had before, and unlocked.
func TestTensorsAreLockedOnTheirGPU(t *testing.T) {
	var want []string
	asked, closed := openPinned(t, func(e *engine) {
		for _, m := range append([]memory{e.input}, e.outputs[0].raw, e.outputs[1].raw) {
			want = append(want, fmt.Sprintf("lock %d on 1: 0", len(m)))
		}
	})
	want = append(want, slices.Repeat([]string{"unlock 0 on 1: 0"}, 3)...)
	if !slices.Equal(asked, want) || closed != nil {
		t.Errorf("asked %q, want %q; closed: %v", asked, want, closed)
	}
}

// An engine works where memory cannot be locked, and leaves no error to others.
func TestMemoryThatCannotBeLockedIsUsedAllTheSame(t *testing.T) {
	t.Setenv("CUDART_FULL", "1")
	asked, closed := openPinned(t, func(e *engine) {
		if err := e.Run(1); err != nil || len(e.pinned) != 0 {
			t.Errorf("run: %v; %d locked", err, len(e.pinned))
		}
		e.pinned = append(e.pinned, e.input) // as if it could be locked, but not unlocked
	})
	if len(asked) != 4 || asked[1] != "forget 0 on 1: 0" || asked[3] != "forget 0 on 1: 0" || closed == nil {
		t.Errorf("asked %q, closed: %v", asked, closed)
	}
}

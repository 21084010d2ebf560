//go:build cgo

package ort

/*
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// floats is zeroed memory from C's heap, aligned for the widest vector registers.
// ONNX Runtime may keep pointers to it until free.
type floats struct {
	data []float32
}

const alignment = 64

func allocate(n int) (*floats, error) {
	size := (n*4 + alignment - 1) / alignment * alignment
	p := C.aligned_alloc(alignment, C.size_t(size))
	if p == nil {
		return nil, fmt.Errorf("allocate %d bytes of tensor memory", size)
	}
	f := &floats{data: unsafe.Slice((*float32)(p), n)}
	clear(f.data)
	return f, nil
}

// free gives the memory back. Slices of it must not be used any more.
func (f *floats) free() {
	if f == nil || f.data == nil {
		return
	}
	C.free(unsafe.Pointer(&f.data[0]))
	f.data = nil
}

// destroy frees an object of the binding. Destroy has errors only for objects that
// were never made.
func destroy(o interface{ Destroy() error }) { _ = o.Destroy() }

//go:build cgo

package ort

/*
#include <stdlib.h>
#include <malloc.h>
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// memory is zeroed memory from C's heap. ONNX Runtime may keep pointers to it until free.
type memory []byte

// alignment is that of pages: memory that is pinned shares none of them.
const alignment = 4096

func allocate(size int) (memory, error) {
	rounded := (max(size, 1) + alignment - 1) / alignment * alignment
	p := C.aligned_alloc(alignment, C.size_t(rounded))
	if p == nil {
		return nil, fmt.Errorf("allocate %d bytes of tensor memory", size)
	}
	m := memory(unsafe.Slice((*byte)(p), size))
	clear(m)
	return m, nil
}

// free gives the memory back. Slices of it must not be used any more.
func (m *memory) free() {
	if *m != nil {
		C.free(unsafe.Pointer(unsafe.SliceData(*m)))
		*m = nil
	}
}

// floats looks at the memory as at numbers.
func (m memory) floats() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(m))), len(m)/4)
}

// trim gives memory back to the system that loading a model leaves: 13 MB of 65 an engine.
func trim() { C.malloc_trim(0) }

// destroy frees an object of the binding. Destroy has errors only for objects that
// were never made.
func destroy(o interface{ Destroy() error }) { _ = o.Destroy() }

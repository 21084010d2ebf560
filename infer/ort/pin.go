//go:build cgo

package ort

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>

// CUDA's runtime, if a provider has loaded it. It is not linked: the program runs without.
static void *cuda(const char *name) {
	static const char *const libraries[] = {"libcudart.so.13", "libcudart.so.12"};
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
		void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
		if (library)
			return dlsym(library, name);
	}
	return NULL;
}

// onDevice makes a GPU the one of this thread, which may be another one's: what follows
// would else set up the first GPU, and take memory there.
static int onDevice(int device) {
	int (*setDevice)(int) = cuda("cudaSetDevice");
	return setDevice ? setDevice(device) : -1;
}

// told forgets an error, or the next call of this thread is taken for the one that failed.
static int told(int status) {
	int (*lastError)(void) = cuda("cudaGetLastError");
	if (status && lastError)
		lastError();
	return status;
}

static int pin(int device, void *p, size_t size) {
	int (*hostRegister)(void *, size_t, unsigned) = cuda("cudaHostRegister");
	int status = hostRegister ? onDevice(device) : -1;
	return told(status ? status : hostRegister(p, size, 1)); // for all contexts
}

static int unpin(int device, void *p) {
	int (*hostUnregister)(void *) = cuda("cudaHostUnregister");
	int status = hostUnregister ? onDevice(device) : -1;
	return told(status ? status : hostUnregister(p));
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// pin locks memory into RAM, so that a GPU reads and writes it by itself: from other
// memory the driver copies everything once more, with a processor. CUDA's runtime must
// have been loaded, by a session that uses it.
func (m memory) pin(device int) error {
	if status := C.pin(C.int(device), unsafe.Pointer(unsafe.SliceData(m)), C.size_t(len(m))); status != 0 {
		return fmt.Errorf("cudaHostRegister of %d bytes: error %d", len(m), status)
	}
	return nil
}

// unpin undoes pin; it comes before free.
func (m memory) unpin(device int) error {
	if status := C.unpin(C.int(device), unsafe.Pointer(unsafe.SliceData(m))); status != 0 {
		return fmt.Errorf("cudaHostUnregister: error %d", status)
	}
	return nil
}

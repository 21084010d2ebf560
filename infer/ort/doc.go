//go:build cgo

// Package ort runs a model with ONNX Runtime.
//
// [Init] loads the shared library, once for the process; [Describe] reads a
// model's metadata; [Open] makes an [infer.Engine] of it on the first execution
// provider that works. Engines share nothing but the library: two engines of one
// model have its weights twice.
//
// All tensor memory is allocated in C, because ONNX Runtime keeps pointers to it
// between calls and Go forbids that for memory of its own.
package ort

//go:build cgo && asan

package ort

// The address sanitizer's own bookkeeping allocates.
const sanitized = true

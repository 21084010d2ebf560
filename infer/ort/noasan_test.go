//go:build cgo && !asan

package ort

const sanitized = false

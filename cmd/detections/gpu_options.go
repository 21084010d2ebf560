//go:build cgo

package main

import "detections/infer/ort"

// options passes the settings on to a provider.
func (g *gpu) options(o *ort.Options, provider string) {
	o.Device = g.device
	if provider == "tensorrt" {
		o.Precision = g.precision
		o.TensorRT = ort.TensorRT{Level: g.level, Workspace: int64(g.workspace), OptBatch: g.optBatch, Int8Table: g.int8Table}
	}
}

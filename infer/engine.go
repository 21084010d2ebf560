package infer

import "fmt"

// Engine is a model loaded on an execution provider. One goroutine at a time may
// use it. Its tensors are allocated once, for MaxBatch images, in memory that
// native code may keep.
type Engine interface {
	Model() *Model
	Identity() Identity
	MaxBatch() int
	// Input is the memory of the i-th image of the next run: Model().Input.Bytes()
	// bytes, aligned for the input's type. A [Normalizer] fills it.
	Input(i int) []byte
	// Run infers images 0..n-1. An error means that none of them has a result.
	Run(n int) error
	// Output is the i-th image's row of output k (an index into Model().Outputs),
	// as float32 whatever type the network gives, valid until the next Run.
	Output(k, i int) []float32
	Close() error
}

// Stepped is an engine that runs some numbers of images as a larger one.
type Stepped interface {
	// RunsAs is the number of images that a run of n costs now.
	RunsAs(n int) int
}

// PipelineVersion changes whenever the same pixels and the same engine would give
// other detections: preprocessing, head or NMS.
const PipelineVersion = 1

// Identity is everything about an engine that can change a result.
type Identity struct {
	Model     string `json:"model"`     // sha256 of the ONNX file
	Provider  string `json:"provider"`  // cpu, cuda, tensorrt
	Precision string `json:"precision"` // fp32, fp16, int8
	Pipeline  int    `json:"pipeline"`
	// Description is that of the model, see Model.Description.
	Description string `json:"description,omitempty"`
}

// ModelKey tells models apart: by the bytes of the file, and by what overrides them.
type ModelKey struct{ SHA256, Description string }

// Key is that of the model.
func (id Identity) Key() ModelKey { return ModelKey{id.Model, id.Description} }

// String is the identity in one word.
func (id Identity) String() string {
	s := fmt.Sprintf("%.12s/%s/%s/p%d", id.Model, id.Provider, id.Precision, id.Pipeline)
	if id.Description != "" {
		s += "/" + id.Description
	}
	return s
}

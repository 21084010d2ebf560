package infertest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"detections/infer"
)

// TestEngine runs the tests that every [infer.Engine] must pass, on an engine that
// allows batches of at least 2. It closes the engine.
func TestEngine(t *testing.T, e infer.Engine) {
	if e.MaxBatch() < 2 {
		t.Fatalf("the suite needs an engine with batches of at least 2, got %d", e.MaxBatch())
	}
	for _, c := range []struct {
		name string
		test func(t *testing.T, e infer.Engine)
	}{
		{"describes itself", describesItself},
		{"slots do not overlap", slotsDoNotOverlap},
		{"a batch gives what single images give, bit for bit", batchesAgree},
		{"outputs are finite for black, white and noise", finite},
		{"a run leaves its inputs as they are", inputsKept},
		{"a run of too few or too many images is refused", bounds},
		{"a run does not allocate", noAllocations},
		{"closing twice is fine, running after it is an error", closing},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, e) })
	}
}

func describesItself(t *testing.T, e infer.Engine) {
	m, id := e.Model(), e.Identity()
	if id.Model != m.SHA256 || len(m.SHA256) != 64 {
		t.Errorf("identity says model %q, the model says %q", id.Model, m.SHA256)
	}
	if id.Provider == "" || id.Precision == "" || id.Pipeline != infer.PipelineVersion {
		t.Errorf("incomplete identity %+v", id)
	}
	if m.Name == "" || m.Version == "" || len(m.Labels) == 0 || m.Head == nil {
		t.Errorf("incomplete model %+v", m)
	}
	for i := range e.MaxBatch() {
		if got := len(e.Input(i)); got != m.Input.Bytes() {
			t.Errorf("input %d has %d bytes, want %d", i, got, m.Input.Bytes())
		}
	}
}

func slotsDoNotOverlap(t *testing.T, e infer.Engine) {
	for i := range e.MaxBatch() {
		for j := range e.Input(i) {
			e.Input(i)[j] = byte(i)
		}
	}
	for i := range e.MaxBatch() {
		in := e.Input(i)
		if slices.Min(in) != byte(i) || slices.Max(in) != byte(i) {
			t.Errorf("input %d was overwritten by another", i)
		}
	}
}

// batchesAgree runs images alone and then in batches, in other slots and with
// other neighbours.
func batchesAgree(t *testing.T, e infer.Engine) {
	images := noise(e, e.MaxBatch())
	alone := make([][][]float32, len(images))
	for i, pix := range images {
		copy(e.Input(0), pix)
		run(t, e, 1)
		alone[i] = outputs(e, 0)
	}
	for _, n := range []int{2, 3, 4, e.MaxBatch()} {
		if n > e.MaxBatch() {
			continue
		}
		for slot := range n {
			copy(e.Input(slot), images[len(images)-1-slot])
		}
		run(t, e, n)
		for slot := range n {
			for k, got := range outputs(e, slot) {
				if !slices.Equal(got, alone[len(images)-1-slot][k]) {
					t.Errorf("batch of %d: output %d of slot %d differs from the image run alone", n, k, slot)
				}
			}
		}
	}
}

func finite(t *testing.T, e infer.Engine) {
	in := e.Model().Input
	normal := infer.NewNormalizer(in)
	for _, v := range []byte{0, 255} {
		pix := make([]byte, in.Size())
		for i := range pix {
			pix[i] = v
		}
		normal.Convert(e.Input(0), pix)
		copy(e.Input(1), noise(e, 1)[0])
		run(t, e, 2)
		for slot := range 2 {
			for k, out := range outputs(e, slot) {
				for _, x := range out {
					if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
						t.Fatalf("output %d of slot %d has %v", k, slot, x)
					}
				}
			}
		}
	}
}

// inputsKept: the batcher runs images again, alone, after a failed batch.
func inputsKept(t *testing.T, e infer.Engine) {
	images := noise(e, 2)
	copy(e.Input(0), images[0])
	copy(e.Input(1), images[1])
	run(t, e, 2)
	for i := range images {
		if !slices.Equal(e.Input(i), images[i]) {
			t.Errorf("the run changed input %d", i)
		}
	}
}

func bounds(t *testing.T, e infer.Engine) {
	for _, n := range []int{-1, 0, e.MaxBatch() + 1} {
		if e.Run(n) == nil {
			t.Errorf("a run of %d images was accepted", n)
		}
	}
	run(t, e, 1)
}

func noAllocations(t *testing.T, e infer.Engine) {
	var candidates []infer.Candidate
	step := func() {
		run(t, e, 2)
		candidates = e.Model().Head.Decode(e, 1, 0.2, candidates[:0])
	}
	step()
	if n := testing.AllocsPerRun(3, step); n != 0 {
		t.Errorf("a run and its head allocate %v times", n)
	}
}

func closing(t *testing.T, e infer.Engine) {
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if e.Run(1) == nil {
		t.Error("a closed engine runs")
	}
}

func run(t *testing.T, e infer.Engine, n int) {
	t.Helper()
	if err := e.Run(n); err != nil {
		t.Fatalf("run of %d images: %v", n, err)
	}
}

// outputs copies all outputs of a slot.
func outputs(e infer.Engine, slot int) [][]float32 {
	var all [][]float32
	for k := range e.Model().Outputs {
		all = append(all, slices.Clone(e.Output(k, slot)))
	}
	return all
}

// noise makes n normalised images of random pixels, always the same.
func noise(e infer.Engine, n int) [][]byte {
	in := e.Model().Input
	normal, random := infer.NewNormalizer(in), rand.New(rand.NewPCG(1, 2))
	images := make([][]byte, n)
	for i := range images {
		pix := make([]byte, in.Size())
		for j := range pix {
			pix[j] = byte(random.Uint32())
		}
		images[i] = make([]byte, in.Bytes())
		normal.Convert(images[i], pix)
	}
	return images
}

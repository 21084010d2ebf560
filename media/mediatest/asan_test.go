//go:build cgo && asan

package mediatest_test

import (
	"os"
	"testing"

	"detections/media"
	"detections/media/av"
	"detections/media/mediatest"
)

// TestAsanMutatedInputs decodes mutated inputs in this process, whose C code tells of
// every byte beyond its memory.
func TestAsanMutatedInputs(t *testing.T) {
	m := mediatest.NewMutator(t)
	kinds := map[string]int{}
	from, to := hostileInputs(300)
	for i := from; i < to; i++ {
		_, input := m.Input(i)
		f, err := os.CreateTemp(t.TempDir(), "input")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(input); err != nil {
			t.Fatal(err)
		}
		d, err := av.Open(f, media.Job{Views: []media.View{{Width: 32, Height: 32}, {Width: 17, Height: 9}}})
		if err != nil {
			t.Fatal(err)
		}
		d.Grow(int64(len(input)), true)
		kinds[kindOf(mediatest.Drain(t, d, nil).Err)]++
		d.Close()
		f.Close()
		os.Remove(f.Name())
	}
	t.Logf("%v", kinds)
}

//go:build cgo

package mediatest_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"detections/media"
	"detections/media/av"
	"detections/media/mediatest"
	"detections/media/worker"
)

func TestMain(m *testing.M) {
	if len(os.Args) >= 2 && os.Args[1] == worker.Argument {
		loop, keep := media.Loop(av.Decode), []*os.File(nil)
		if len(os.Args) == 3 {
			loop, keep = tellPeak(os.Args[2], loop)
		}
		worker.Child(loop, keep...)
	}
	goleak.VerifyTestMain(m)
}

// long leaves a test out of the race lane: what it tests happens in FFmpeg and in
// other processes, and its bounds of time and memory are those of a plain build.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a long test")
	}
}

func TestInProcess(t *testing.T) {
	mediatest.TestDecoder(t, func(t testing.TB, file *os.File, job media.Job) media.Decoder {
		d, err := av.Open(file, job)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestProcess(t *testing.T) {
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	mediatest.TestDecoder(t, func(t testing.TB, file *os.File, job media.Job) media.Decoder {
		d, err := pool.Start(t.Context(), file, job)
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

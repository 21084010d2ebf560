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
	if len(os.Args) == 2 && os.Args[1] == worker.Argument {
		worker.Child(av.Decode)
	}
	goleak.VerifyTestMain(m)
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

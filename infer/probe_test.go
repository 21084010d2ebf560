package infer_test

import (
	"testing"
	"testing/synctest"

	"detections/infer"
	"detections/infer/infertest"
)

// A larger batch than pays is tried now and then if there is one. Nobody waits for it.
func TestNobodyWaitsForABatchThatIsOnlyTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := infertest.NewEngine(infertest.Config{Price: infertest.Price{Image: 10 * ms}, MaxBatch: 4})
		b := batcherOf(t, infer.BatcherConfig{MaxDelay: 50 * ms}, e)
		file, live := join(t, b, false), join(t, b, true)
		file.offer(0, 40) // teaches that batches gain nothing
		for e.Runs(0) < 30 {
			after(10 * ms)
		}
		after(1000 * ms)
		for i := range int64(200) {
			if d := live.took(i); d != 10*ms {
				t.Fatalf("frame %d took %v", i, d)
			}
		}
		file.leave()
		live.leave()
		b.Close()
	})
}

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

// fours is an engine whose network takes four images, neither more nor less.
type fours struct{ *infertest.Engine }

func (fours) RunsAs(int) int { return 4 }

func TestANetworkThatTakesFourImagesGetsFour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fours{infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}, MaxBatch: 4})}
		b, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{e}})
		if err != nil {
			t.Fatal(err)
		}
		s := join(t, b, false)
		s.offer(0, 400)
		after(2000 * ms)
		if all, right := e.Runs(0), e.Runs(4); right < 98 || all-right > 6 {
			t.Errorf("%d runs, %d of them with four", all, right)
		}
		s.leave()
		b.Close()
	})
}

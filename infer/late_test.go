package infer_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer/infertest"
)

// Where runs are disturbed, frames are given up early enough for those that are taken.
func TestExpectedRunsAreLongerWhereTheyAreUneven(t *testing.T) {
	for _, c := range []struct {
		name        string
		uneven      time.Duration
		least, most time.Duration
	}{
		{"even", 0, 20 * ms, 20 * ms},
		{"uneven", 20 * ms, 36 * ms, 70 * ms}, // 20 to 40 ms
	} {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(5, 6))
			b := batcher(t, infertest.NewEngine(infertest.Config{MaxBatch: 1, Price: infertest.Price{Image: 20 * ms}, Before: func(*infertest.Engine, int) error {
				if c.uneven > 0 {
					time.Sleep(time.Duration(random.Int64N(int64(c.uneven))))
				}
				return nil
			}}))
			s := join(t, b, false)
			s.offer(0, 200)
			after(10 * time.Second)
			if d := s.place.Expected(); d < c.least || d > c.most {
				t.Errorf("%s: expected %v, want %v to %v", c.name, d, c.least, c.most)
			}
			s.leave()
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

package infer

import (
	"testing"
	"time"
)

// A GPU's runs: 1.4 ms and 0.25 ms an image.
func onGPU(n int) time.Duration { return time.Duration(1400+250*n) * time.Microsecond }

// If the first runs of two images were disturbed, batches seem to gain nothing. That is
// found out, although nobody makes larger ones then.
func TestABatchSizeThatLookedUselessIsTriedAgain(t *testing.T) {
	m := newCostModel(16)
	for range 20 {
		m.observe(1, onGPU(1))
	}
	m.observe(2, 3*onGPU(1))
	if m.knee != 1 {
		t.Fatalf("knee %d", m.knee)
	}
	runs := 0
	for ; m.knee < 8 && runs < 500; runs++ {
		n := m.next()
		m.observe(n, onGPU(n))
	}
	if runs == 500 {
		t.Errorf("knee %d after %d runs", m.knee, runs)
	}
}

// Where batches do gain nothing, larger ones are tried ever more seldom.
func TestUselessBatchSizesAreTriedSeldom(t *testing.T) {
	m := newCostModel(8)
	larger := 0
	for range 20_000 {
		n := m.next()
		if m.fitted && n > m.knee {
			larger++
		}
		m.observe(n, time.Duration(n)*25*time.Millisecond)
	}
	if m.knee != 1 || larger < 10 || larger > 40 {
		t.Errorf("knee %d, %d runs were larger", m.knee, larger)
	}
}

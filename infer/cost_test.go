package infer

import (
	"math/rand/v2"
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

// An engine with sessions for few sizes runs others as the next larger one. To run 15 images
// at the price of 16, or 5 at that of 8, is not what pays, whatever mixture was seen.
func TestBatchesAreOfASizeThatTheEngineHas(t *testing.T) {
	as := func(n int) int {
		size := 1
		for size < n {
			size *= 2
		}
		return size
	}
	for _, run := range []float64{0.05, 0.3, 0.6, 1.4, 3} { // ms, beside 0.25 an image
		price := func(n int) float64 { return run + 0.25*float64(as(n)) }
		m, random := newCostModel(32), rand.New(rand.NewPCG(1, 2))
		m.as = as
		for range 4000 {
			n := min(m.next(), 1+random.IntN(32))
			m.observe(m.step(n), time.Duration(price(n)*1e6))
		}
		if got, best := price(m.knee)/float64(m.knee), price(32)/32; got > 1.04*best || as(m.knee) != m.knee {
			t.Errorf("%v ms a run: knee %d, %.3f ms an image instead of %.3f", run, m.knee, got, best)
		}
	}
}

// While a size is cold its images are run as more. That says nothing of what they cost later.
func TestColdSizesTeachNothingOfThemselves(t *testing.T) {
	m, cold := newCostModel(16), true
	m.as = func(n int) int {
		if cold && n > 1 {
			return 16
		}
		return n
	}
	for n := range 60 {
		n = 1 + n%4
		m.observe(m.step(n), onGPU(m.step(n)))
	}
	cold = false
	if got, want := seconds(m.time(2)), onGPU(2); max(got-want, want-got) > want/100 {
		t.Errorf("2 images are expected to take %v, it will be %v", got, want)
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

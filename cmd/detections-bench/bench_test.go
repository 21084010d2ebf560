//go:build cgo

package main

import (
	"math"
	"os"
	"testing"
	"time"
)

func TestQuantilesOfASample(t *testing.T) {
	s := sample{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := (sample{7}).quantile(0.99); got != 7 {
		t.Errorf("of one value: %v", got)
	}
	if !math.IsNaN(sample{}.median()) {
		t.Error("of nothing: a number")
	}
}

// TestFirstByte holds the rule to the files that every run measures with: the
// third packet of H.264 with a reordering of two, the first of VP8.
func TestFirstByte(t *testing.T) {
	b := &bench{options: options{media: os.Getenv("DETECTIONS_TEST_MEDIA")}}
	for name, packets := range map[string]int{"people.mp4": 3, "people-bframes.mp4": 3, "people.ts": 4, "people.mkv": 3, "people-vp8.webm": 1} {
		c, err := b.clip(name)
		if err != nil {
			t.Fatal(err)
		}
		got, low, high := c.firstByte(), c.packets[packets-1].pos, c.packets[packets].pos
		if got <= low || got > high {
			t.Errorf("%s: byte %d is not within packet %d, %d to %d", name, got, packets, low, high)
		}
	}
}

func TestAPacerSendsTheMarkAtTheEndOfAChunk(t *testing.T) {
	var sent []int
	c := &client{send: func(p []byte) error { sent = append(sent, len(p)); return nil }, eof: func() error { return nil }}
	p := &pacer{rate: 1e6, mark: 12_345}
	begin := time.Now()
	if err := p.run(t.Context(), c, make([]byte, 50_000)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 40*time.Millisecond {
		t.Errorf("50 kB at 1 MB/s took %v", took)
	}
	sum, met := 0, false
	for _, n := range sent {
		sum += n
		met = met || sum == 12_345
	}
	if sum != 50_000 || !met || p.markedAt().Sub(begin) < 12*time.Millisecond {
		t.Errorf("chunks %v, mark at %v", sent, p.markedAt().Sub(begin))
	}
}

package worker

import (
	"os"
	"slices"
	"testing"
	"time"

	"detections/media"
)

// BenchmarkHandOff is a round of one frame: bytes given, picture made, frame here,
// slot given back. hand-off is the part from complete pixels to Next's return.
func BenchmarkHandOff(b *testing.B) {
	p := pool(b, Config{})
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	d, err := p.Start(b.Context(), f, media.Job{Views: oneView})
	if err != nil {
		b.Fatal(err)
	}
	var latency []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		d.Grow(int64(100*(len(latency)+1)), false)
		o, err := d.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		latency = append(latency, time.Since(o.Frame.Ready))
		o.Frame.Release()
	}
	slices.Sort(latency)
	b.ReportMetric(float64(latency[len(latency)/2].Nanoseconds())/1e3, "µs-hand-off-p50")
	b.ReportMetric(float64(latency[len(latency)*95/100].Nanoseconds())/1e3, "µs-hand-off-p95")
}

// BenchmarkStart is a job from a warm pool up to its first frame.
func BenchmarkStart(b *testing.B) {
	p := pool(b, Config{})
	for b.Loop() {
		d := begin(b, p, "", 1)
		if _, err := d.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
}

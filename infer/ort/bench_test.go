//go:build cgo

package ort

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"detections/infer"
)

// BenchmarkRun is one engine of one thread. Compare ns/image: a larger batch pays
// if it falls.
func BenchmarkRun(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			e := openNanoDet(b, Options{Providers: []string{"cpu"}, MaxBatch: n})
			for b.Loop() {
				if err := e.Run(n); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/image")
		})
	}
}

// BenchmarkLayouts shows what the machine can do with so many engines and threads.
// Each iteration takes two seconds: use -benchtime 3x.
func BenchmarkLayouts(b *testing.B) {
	for _, l := range []struct{ engines, threads, batch int }{
		{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {2, 1, 2}, {2, 1, 4}, {2, 1, 8}, {1, 2, 4},
	} {
		b.Run(fmt.Sprintf("engines=%d/threads=%d/batch=%d", l.engines, l.threads, l.batch), func(b *testing.B) {
			before := residentMB()
			var engines []infer.Engine
			for range l.engines {
				engines = append(engines, openNanoDet(b, Options{Providers: []string{"cpu"}, MaxBatch: l.batch, Threads: l.threads}))
			}
			var sum infer.Measurement
			for b.Loop() {
				m, err := infer.Measure(engines, l.batch, 2*time.Second)
				if err != nil {
					b.Fatal(err)
				}
				sum.Images, sum.Wall, sum.CPU = sum.Images+m.Images, sum.Wall+m.Wall, sum.CPU+m.CPU
			}
			b.ReportMetric(sum.PerSecond(), "images/s")
			b.ReportMetric(float64(sum.CPUPerImage().Microseconds())/1000, "cpu-ms/image")
			b.ReportMetric(residentMB()-before, "MB")
		})
	}
}

// BenchmarkFrame is head and NMS of a street; percent is of the time of a run, of which
// at most 3 are asked for at 0.25.
func BenchmarkFrame(b *testing.B) {
	e := openNanoDet(b, Options{Providers: []string{"cpu"}, MaxBatch: 1})
	in := e.Model().Input
	img := loadPNG(b, golden(b).Images[2])
	pix, pixels := img.rounded(in.View()), infer.NewNormalizer(in)
	pixels.Convert(e.Input(0), pix)
	run := time.Hour
	for range 20 {
		start := time.Now()
		if err := e.Run(1); err != nil {
			b.Fatal(err)
		}
		run = min(run, time.Since(start))
	}
	for _, threshold := range []float32{infer.DefaultThreshold, 0.25, 0.1, 0.05, 0.01, 0.001, 0} {
		b.Run(fmt.Sprintf("post/threshold=%v", threshold), func(b *testing.B) {
			var post infer.Postprocessor
			d := &infer.Detect{Threshold: threshold, IoU: infer.DefaultIoU}
			for b.Loop() {
				post.Detect(e, 0, d, in.View().Place(img.w, img.h))
			}
			b.ReportMetric(100*float64(b.Elapsed())/float64(b.N)/float64(run), "percent")
			b.ReportMetric(float64(len(e.Model().Head.Decode(e, 0, threshold, nil))), "candidates")
			b.ReportMetric(float64(len(post.Detect(e, 0, d, in.View().Place(img.w, img.h)))), "detections")
		})
	}
}

// BenchmarkRead is what outputs cost that are not float32: those of a YOLOv8.
func BenchmarkRead(b *testing.B) {
	for _, k := range kinds[1:5] {
		b.Run(k.name, func(b *testing.B) {
			dst := make([]float32, 84*8400)
			raw, err := allocate(len(dst) * k.size)
			if err != nil {
				b.Fatal(err)
			}
			defer raw.free()
			for b.Loop() {
				k.read(dst, raw)
			}
		})
	}
}

// residentMB is the process's resident memory.
func residentMB() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

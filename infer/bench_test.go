package infer_test

import (
	"math/rand/v2"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

func BenchmarkConvert416(b *testing.B) {
	n, pix, dst := infer.NewNormalizer(bgr416), randomBytes(bgr416.Size()), make([]byte, bgr416.Bytes())
	b.SetBytes(int64(len(pix)))
	for b.Loop() {
		n.Convert(dst, pix)
	}
}

func BenchmarkNanoDetDecode(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 8))
	e := &tensors{out: [2][]float32{make([]float32, 3549*80), make([]float32, 3549*4)}}
	for i := range e.out[0] {
		e.out[0][i] = random.Float32() * 0.2
	}
	for range 60 {
		e.out[0][random.IntN(len(e.out[0]))] = 0.8
	}
	var dst []infer.Candidate
	for b.Loop() {
		dst = (infer.Scored{Classes: 80}).Decode(e, 0, 0.45, dst[:0])
	}
}

// BenchmarkBatcher is what a frame costs from Ready to Done, with two changes of
// goroutine, the pixels of 32×32 and the fake engine's sums over them.
func BenchmarkBatcher(b *testing.B) {
	batcher, err := infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}})
	if err != nil {
		b.Fatal(err)
	}
	defer batcher.Close()
	frame, done := media.NewFrame(func() {}), make(chan struct{}, 1)
	frame.Views = new(infertest.Pool).Frame(1).Views
	place := placed(b, batcher, &callback{
		take: func() (infer.Request, bool, bool) {
			frame.Hold()
			return infer.Request{Frame: frame}, false, true
		},
		done: func(media.FrameInfo, *infer.Result) { done <- struct{}{} },
	})
	defer place.Leave()
	b.ReportAllocs()
	for b.Loop() {
		place.Ready(1)
		<-done
	}
}

func BenchmarkNMS(b *testing.B) {
	for _, n := range []struct {
		name string
		n    int
	}{{"60", 60}, {"1000", 1000}, {"284000", 284000}} {
		b.Run(n.name, func(b *testing.B) {
			var nms infer.NMS
			candidates := crowd(n.n)
			for b.Loop() {
				nms.Keep(candidates, square64, 0.5)
			}
		})
	}
}

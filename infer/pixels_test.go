package infer_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"detections/infer"
	"detections/infer/infertest"
	"detections/media"
)

var bgr416 = infer.Input{
	Width: 416, Height: 416, Format: media.BGR24,
	Mean: [3]float32{103.53, 116.28, 123.675}, Std: [3]float32{57.375, 57.12, 58.395},
}

func randomBytes(n int) []byte {
	random, pix := rand.New(rand.NewPCG(3, 4)), make([]byte, n)
	for i := range pix {
		pix[i] = byte(random.Uint32())
	}
	return pix
}

func TestConvertPutsEachChannelIntoItsPlane(t *testing.T) {
	n := infer.NewNormalizer(bgr416)
	for _, size := range []int{1, 2, 3, 4, 5, 7, 8, 416} { // four pixels a turn, and the rest
		pix := randomBytes(3 * size)
		got := make([]float32, 3*size)
		n.Convert(got, pix)
		for i, v := range pix {
			c := i % 3
			if want := (float32(v) - bgr416.Mean[c]) / bgr416.Std[c]; got[c*size+i/3] != want {
				t.Fatalf("%d pixels: channel %d of pixel %d is %v, want %v", size, c, i/3, got[c*size+i/3], want)
			}
		}
	}
}

// tensors is an engine that only has outputs.
type tensors struct {
	infer.Engine
	out [2][]float32
}

func (e *tensors) Output(k, _ int) []float32 { return e.out[k] }

func TestNanoDetFindsEveryScoreAtTheThreshold(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, size := range [][2]int{{1, 1}, {7, 3}, {40, 80}, {33, 5}} {
		anchors, classes := size[0], size[1]
		e := &tensors{out: [2][]float32{make([]float32, anchors*classes), make([]float32, anchors*4)}}
		var want []infer.Candidate
		for a := range anchors {
			box := [4]float32{float32(a), 1, 2, 3}
			copy(e.out[1][4*a:], box[:])
			for c := range classes {
				s := float32(random.IntN(9)) / 8
				e.out[0][a*classes+c] = s
				if s >= 0.75 {
					want = append(want, infer.Candidate{X1: box[0], Y1: 1, X2: 2, Y2: 3, Score: s, Class: int32(c)})
				}
			}
		}
		if got := (infer.NanoDet{Classes: classes}).Decode(e, 0, 0.75, nil); !slices.Equal(got, want) {
			t.Errorf("%d anchors of %d classes: got %v, want %v", anchors, classes, got, want)
		}
	}
	e := &tensors{out: [2][]float32{{float32(math.NaN()), float32(math.Inf(1)), 0.9}, {0, 0, 1, float32(math.NaN())}}}
	if got := (infer.NanoDet{Classes: 3}).Decode(e, 0, 0.5, nil); len(got) != 0 {
		t.Errorf("values that are not finite were returned: %v", got)
	}
}

// From shared memory to detections nothing is allocated, and through the batcher
// neither.
func TestFramesDoNotAllocate(t *testing.T) {
	e := infertest.NewEngine(infertest.Config{})
	b := batcher(t, e)
	defer b.Close()
	pool, done := new(infertest.Pool), make(chan int, 1)
	pix := slices.Clone(pool.Frame(5).Views[0].Pix)
	frame := media.NewFrame(func() {})
	frame.Views = []media.Picture{{Pix: pix, Geometry: infertest.Model().Input.View().Place(64, 64)}}
	place := b.Join(&callback{
		take: func() (infer.Request, bool, bool) {
			frame.Hold()
			return infer.Request{Frame: frame}, false, true
		},
		done: func(_ media.FrameInfo, r *infer.Result) { done <- len(r.Detections) },
	})
	defer place.Leave()
	step := func() {
		place.Ready()
		if n := <-done; n != 1 {
			t.Fatalf("%d detections, want 1", n)
		}
	}
	step()
	if n := testing.AllocsPerRun(100, step); n != 0 {
		t.Errorf("a frame allocates %v times", n)
	}
}

func TestMeasureCountsTheImagesOfAllEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var engines []infer.Engine
		for range 2 {
			engines = append(engines, infertest.NewEngine(infertest.Config{Price: infertest.Price{Run: 10 * ms}}))
		}
		m, err := infer.Measure(engines, 3, time.Second)
		if err != nil || m.Images != 600 || m.PerSecond() != 600 {
			t.Errorf("%d images, %v a second, err %v; want 600", m.Images, m.PerSecond(), err)
		}
		engines[0].Close()
		if _, err := infer.Measure(engines, 1, time.Second); err == nil {
			t.Error("an engine that fails was not reported")
		}
	})
}

package infer_test

import (
	"encoding/binary"
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
		b := make([]byte, 4*3*size)
		n.Convert(b, pix)
		got := floats(b)
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

// floats are the numbers that lie in memory.
func floats(b []byte) []float32 {
	var all []float32
	for ; len(b) >= 4; b = b[4:] {
		all = append(all, math.Float32frombits(binary.NativeEndian.Uint32(b)))
	}
	return all
}

func TestConvertWritesEveryTypeAndLayout(t *testing.T) {
	pix := randomBytes(3 * 21)
	for _, typ := range []infer.Type{infer.Float16, infer.Uint8, infer.Float32} {
		for _, layout := range []infer.Layout{infer.NCHW, infer.NHWC} {
			in := infer.Input{Width: 7, Height: 3, Type: typ, Layout: layout, Mean: [3]float32{10, 20, 30}, Std: [3]float32{2, 4, 8}}
			got := make([]byte, in.Bytes())
			infer.NewNormalizer(in).Convert(got, pix)
			for i, v := range pix {
				c, at := i%3, i
				if layout == infer.NCHW {
					at = c*21 + i/3
				}
				want := (float32(v) - in.Mean[c]) / in.Std[c]
				var found float32
				switch typ {
				case infer.Float16: // 11 bits hold these numbers exactly: eighths below 128
					found = infer.Half(binary.NativeEndian.Uint16(got[2*at:])).Float()
				case infer.Uint8:
					found, want = float32(got[at]), float32(math.RoundToEven(math.Max(0, float64(want))))
				default:
					found = floats(got[4*at:])[0]
				}
				if found != want {
					t.Fatalf("%v %v: channel %d of pixel %d is %v, want %v", typ, layout, c, i/3, found, want)
				}
			}
		}
	}
}

// The 65,536 numbers of 16 bits by their definition, and that each number of 32 bits
// becomes the nearest of them.
func TestHalf(t *testing.T) {
	value := func(h int) float64 {
		exp, frac := h>>10&0x1f, float64(h&0x3ff)/1024
		switch exp {
		case 0:
			return math.Ldexp(frac, -14)
		case 31:
			return math.Inf(1)
		}
		return math.Ldexp(1+frac, exp-15)
	}
	for h := range 0x7c01 {
		v := value(h)
		if got := infer.Half(h).Float(); float64(got) != v || infer.Half(h|0x8000).Float() != -got {
			t.Fatalf("%#x is %v, want %v", h, got, v)
		}
		if h == 0x7c00 {
			break
		}
		if got := infer.ToHalf(float32(v)); got != infer.Half(h) {
			t.Fatalf("%v becomes %#x, want %#x", v, got, h)
		}
		next := value(h + 1)
		if h == 0x7bff {
			next = 65536 // the one that would follow, if it were not infinite
		}
		middle := float32((v + next) / 2)
		for f, want := range map[float32]int{math.Nextafter32(middle, 0): h, middle: h + h&1, math.Nextafter32(middle, 1e9): h + 1} {
			if got := infer.ToHalf(-f); got != infer.Half(want|0x8000) {
				t.Fatalf("%v becomes %#x, want %#x", -f, got, want|0x8000)
			}
		}
	}
	if nan := infer.ToHalf(float32(math.NaN())).Float(); nan == nan {
		t.Errorf("NaN becomes %v", nan)
	}
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
		if got := (infer.Scored{Anchors: anchors, Classes: classes}).Decode(e, 0, 0.75, nil); !slices.Equal(got, want) {
			t.Errorf("%d anchors of %d classes: got %v, want %v", anchors, classes, got, want)
		}
	}
	e := &tensors{out: [2][]float32{{float32(math.NaN()), float32(math.Inf(1)), 0.9}, {0, 0, 1, float32(math.NaN())}}}
	if got := (infer.Scored{Classes: 3}).Decode(e, 0, 0.5, nil); len(got) != 0 {
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
	place := placed(t, b, &callback{
		take: func() (infer.Request, bool, bool) {
			frame.Hold()
			return infer.Request{Frame: frame}, false, true
		},
		done: func(_ media.FrameInfo, r *infer.Result) { done <- len(r.Detections) },
	})
	defer place.Leave()
	step := func() {
		place.Ready(1)
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

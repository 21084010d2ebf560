package infer_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"detections/infer"
	"detections/media"
)

// network is an engine that only has a model and outputs.
type network struct {
	infer.Engine
	model *infer.Model
	out   [][]float32
}

func (n *network) Model() *infer.Model       { return n.model }
func (n *network) Output(k, _ int) []float32 { return n.out[k] }

// crowded is the output of a YOLOv8 at 640×640: 8,400 anchors of 80 classes, of which
// survivors reach 0.25, in so many classes. Boxes are of all sizes, and near each
// other as those of a crowd.
func crowded(survivors, classes int) *network {
	const anchors, all = 8400, 80
	random := rand.New(rand.NewPCG(9, 10))
	out := make([]float32, (4+all)*anchors)
	for i := range out {
		out[i] = random.Float32() * 0.1
	}
	for n, a := range random.Perm(anchors) {
		for k, v := range []float32{640 * random.Float32(), 640 * random.Float32(), 10 + 60*random.Float32(), 20 + 100*random.Float32()} {
			out[k*anchors+a] = v
		}
		if n < survivors {
			out[(4+n%classes)*anchors+a] = 0.25 + 0.7*random.Float32()
		}
	}
	return &network{out: [][]float32{out}, model: &infer.Model{
		Input: infer.Input{Width: 640, Height: 640}, Outputs: []infer.Tensor{{Name: "output0"}},
		Head: infer.Dense{Box: infer.BoxForm{Order: infer.Centre}, Anchors: anchors, Classes: all, Columns: true},
	}}
}

var whole = media.View{Width: 640, Height: 640}.Place(1280, 1280)

// BenchmarkPost is head and NMS of one frame. At most 2 ms in one class and 1 ms in
// 80 are asked for.
func BenchmarkPost(b *testing.B) {
	for _, c := range [][2]int{{10, 80}, {1000, 1}, {1000, 80}, {8400, 80}} {
		b.Run(fmt.Sprintf("survivors=%d/classes=%d", c[0], c[1]), func(b *testing.B) {
			e := crowded(c[0], c[1])
			var post infer.Postprocessor
			d := &infer.Detect{Threshold: 0.25, IoU: 0.5}
			b.ReportAllocs()
			for b.Loop() {
				post.Detect(e, 0, d, whole)
			}
			b.ReportMetric(float64(len(post.Detect(e, 0, d, whole))), "detections")
		})
	}
}

// Post-processing of a crowd allocates nothing, and takes little longer than reading
// what the network said; make bench has the figures.
func TestACrowdIsCheap(t *testing.T) {
	e := crowded(1000, 1)
	var post infer.Postprocessor
	crowd := func() { post.Detect(e, 0, &infer.Detect{Threshold: 0.25, IoU: 0.5}, whole) }
	nobody := func() { post.Detect(e, 0, &infer.Detect{Threshold: 1, IoU: 0.5}, whole) }
	crowd()
	if took, reading := threadTime(t, crowd), threadTime(t, nobody); took > 15*reading {
		t.Errorf("1,000 survivors of one class take %v, reading the output %v", took, reading)
	}
	if n := testing.AllocsPerRun(5, crowd); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// threadTime is the least processor time that a step takes of this thread: others on a
// loaded machine do not count.
func threadTime(t *testing.T, step func()) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now := func() time.Duration {
		var at unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at); err != nil {
			t.Fatal(err)
		}
		return time.Duration(at.Nano())
	}
	best := time.Hour
	for range 20 {
		start := now()
		step()
		best = min(best, now()-start)
	}
	return best
}

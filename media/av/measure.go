package av

import (
	"errors"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
)

// Cost is what decoding and scaling a file costs on one thread.
type Cost struct {
	Stats media.DecodeStats
	// CPU is the processor time for all of it.
	CPU time.Duration
	// FirstFrame is the smallest number of bytes of the input with which the first
	// picture comes out, and Size is all of them.
	FirstFrame, Size int64
}

// PerFrame is the processor time for one decoded picture.
func (c Cost) PerFrame() time.Duration { return c.CPU / time.Duration(max(1, c.Stats.Decoded)) }

// Measure decodes a file in this process, for benchmarks.
func Measure(file *os.File, job media.Job) (c Cost, err error) {
	if err := job.Validate(); err != nil {
		return c, err
	}
	fi, err := file.Stat()
	if err != nil {
		return c, err
	}
	c.Size = fi.Size()
	first := newMeasure(job, c.Size, 1)
	if _, err := Decode(first, file, job); err != nil && !errors.Is(err, errMeasured) {
		return c, err
	}
	c.FirstFrame = first.given

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := threadTime()
	c.Stats, err = Decode(newMeasure(job, c.Size, 0), file, job)
	c.CPU = threadTime() - begin
	return c, err
}

var errMeasured = errors.New("measured")

// measure is a host that takes every frame at once. It gives step bytes at a time
// until the first frame, and ends the job there; or all of the input, if step is 0.
type measure struct {
	slot              *media.Frame
	size, given, step int64
}

func newMeasure(job media.Job, size, step int64) *measure {
	m := &measure{slot: media.NewFrame(nil), size: size, step: step}
	for _, v := range job.Views {
		m.slot.Views = append(m.slot.Views, media.Picture{Pix: make([]byte, v.Size(), v.Size()+media.SlotSpare)})
	}
	return m
}

func (m *measure) Await(have int64) (int64, bool, error) {
	if m.step == 0 {
		m.given = m.size
	} else if have >= m.given {
		m.given = min(have+m.step, m.size)
	}
	return m.given, m.given == m.size, nil
}

func (m *measure) Slot() (*media.Frame, error) { return m.slot, nil }

func (m *measure) Rule() (id uint32, rule media.Sample, ok bool) { return }

func (m *measure) Put(o media.Output, _ media.DecodeStats) error {
	if o.Frame != nil && m.step > 0 {
		return errMeasured
	}
	return nil
}

func (m *measure) Log(string) {}

func threadTime() time.Duration {
	var at unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at)
	return time.Duration(at.Nano())
}

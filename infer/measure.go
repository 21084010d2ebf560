package infer

import (
	"errors"
	"sync"
	"syscall"
	"time"
)

// Measurement is what engines alone, without pixels or post-processing, can do.
type Measurement struct {
	Images int
	Wall   time.Duration
	CPU    time.Duration // user and system, of the whole process meanwhile
}

// PerSecond is the number of images per second.
func (m Measurement) PerSecond() float64 { return float64(m.Images) / m.Wall.Seconds() }

// CPUPerImage is the processor time that an image costs.
func (m Measurement) CPUPerImage() time.Duration { return m.CPU / time.Duration(max(m.Images, 1)) }

// Measure runs batches on all engines at once, each in its own goroutine, for at
// least d. Nobody else may use the engines, and the process should have nothing
// else to do.
func Measure(engines []Engine, batch int, d time.Duration) (Measurement, error) {
	var all sync.WaitGroup
	images, errs := make([]int, len(engines)), make([]error, len(engines))
	start, cpu := time.Now(), cpuTime()
	for i, e := range engines {
		all.Go(func() {
			for time.Since(start) < d && errs[i] == nil {
				errs[i] = e.Run(batch)
				images[i] += batch
			}
		})
	}
	all.Wait()
	m := Measurement{Wall: time.Since(start), CPU: cpuTime() - cpu}
	for _, n := range images {
		m.Images += n
	}
	return m, errors.Join(errs...)
}

// cpuTime is the processor time used by the process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

//go:build cgo

package ort

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Priority says how the work on a model is done that stays in native code.
type Priority uint8

const (
	// Normal is like everything else.
	Normal Priority = iota
	// Low is for who loads beside engines that infer: a tenth of a processor that others want.
	Low
	// Spare is the time of processors that nobody else wants. To the kernel such a
	// processor is idle: a thread that infers is put there at once. Where only nice values
	// differ it stays, for tens of milliseconds, in the queue of another that infers. But
	// where everybody is busy nothing gets done.
	Spare
)

// how runs a part of the work on a model that stays in native code.
type how func(func() error) error

func (p Priority) how() how {
	if p == Normal {
		return func(f func() error) error { return f() }
	}
	return p.inBack
}

// inBack runs f on a thread of its own with this priority, so that frames are inferred as
// if nothing were loaded beside. Not everybody may raise the priority again: the thread
// ends with f. What f starts inherits it, so a session with threads of its own is not for
// here. Go code is neither: the collector would wait for it, and everybody for the collector.
func (p Priority) inBack(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // without an end: the thread ends with the goroutine
		if p != Spare || Yield(0) != nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), priorityHere()+lower)
		}
		done <- f()
	}()
	return <-done
}

// Yield gives a thread, 0: this one, only the time that nobody else wants, for ever.
func Yield(thread int) error {
	return unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)
}

// lower is by how much the nice value of Low is higher.
const lower = 10

// priorityHere is the thread's own nice value so far: 0, or what the process was started with.
func priorityHere() int {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - raw // as the system call tells it
}

// manner is how what opts say is done.
func (o *Options) manner() how {
	if o.Threads == 1 && len(o.Providers) == 1 && o.Providers[0] == "cpu" {
		return o.Priority.how()
	}
	return Normal.how()
}

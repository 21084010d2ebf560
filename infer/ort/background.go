//go:build cgo

package ort

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// how runs a part of the work on a model that stays in native code.
type how func(func() error) error

func inFront(f func() error) error { return f() }

// priority is that of a thread in the background: a tenth of a processor that others want.
const priority = 10

// inBack runs f on a thread of low priority, so that frames are inferred as if nothing
// were loaded beside. Not everybody may raise the priority again: the thread ends with f.
// What f starts inherits it, so a session with threads of its own is not for here. Go code
// is neither: the collector would wait for it, and everybody for the collector.
func inBack(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // without an end: the thread ends with the goroutine
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), priorityHere()+priority)
		done <- f()
	}()
	return <-done
}

// priorityHere is the thread's own so far: 0, or what the process was started with.
func priorityHere() int {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - raw // as the system call tells it
}

// manner is how what opts say is done.
func (o *Options) manner() how {
	if o.Background && o.Threads == 1 && len(o.Providers) == 1 && o.Providers[0] == "cpu" {
		return inBack
	}
	return inFront
}

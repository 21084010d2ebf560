package worker

import (
	"time"

	"golang.org/x/sys/unix"
)

// ProcessTime is the processor time that another process has used; 0 if it is gone. It
// asks the kernel, not the process.
func ProcessTime(pid int) time.Duration {
	clock := int32(^pid<<3 | 2) //nolint:gosec // G115: CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// cpuMeter tells the processor time of another process from one look to the next.
type cpuMeter struct {
	pid  int
	seen time.Duration
}

// newCPUMeter begins with what the process has used until now.
func newCPUMeter(pid int) cpuMeter { return cpuMeter{pid: pid, seen: ProcessTime(pid)} }

// used is the time since the last call; 0 if the process is gone.
func (m *cpuMeter) used() time.Duration {
	now := ProcessTime(m.pid)
	if now == 0 {
		return 0
	}
	d := now - m.seen
	m.seen = now
	return max(0, d) // less than before: it is gone, and another process has its number
}

// cpuBudget bounds the processor time from one step of the loop to the next, that is
// for one packet or picture; however long the whole input is. The kernel ends the
// process with SIGXCPU. Unlike the watchdog of the parent it does not count the time
// in which others had the processor.
type cpuBudget struct {
	perStep time.Duration // 0: any
	renewed int64         // CLOCK_MONOTONIC, ns
}

// renewEvery is how old a budget may get: renewing it takes two system calls.
const renewEvery = time.Second

// renew begins the budget anew. The kernel counts in seconds.
func (b *cpuBudget) renew() {
	now := monotonic()
	if b.perStep == 0 || b.renewed != 0 && time.Duration(now-b.renewed) < renewEvery {
		return
	}
	b.renewed = now
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &used) != nil {
		return
	}
	spent := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	most := uint64((spent+b.perStep+renewEvery-1)/time.Second) + 1
	// The parent's own limit, if it has one, stays the last word.
	var have unix.Rlimit
	if unix.Prlimit(0, unix.RLIMIT_CPU, nil, &have) == nil {
		_ = unix.Prlimit(0, unix.RLIMIT_CPU, &unix.Rlimit{Cur: min(most, have.Max), Max: have.Max}, nil)
	}
}

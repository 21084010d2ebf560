//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc on Linux.
const tick = 10 * time.Millisecond

// usage is the processor time of everybody at a moment, or between two.
type usage struct {
	at      time.Time
	wall    time.Duration // between two
	hub     time.Duration
	workers time.Duration // decoder processes, those that are gone included
	self    time.Duration // this process: the client
	machine machine
}

func (u usage) since(v usage) usage {
	return usage{
		wall: u.at.Sub(v.at), hub: u.hub - v.hub, workers: u.workers - v.workers, self: u.self - v.self,
		machine: u.machine.since(v.machine),
	}
}

// others is what neither the hub nor this process used.
func (u usage) others() time.Duration {
	return max(0, u.machine.busy-u.hub-u.workers-u.self)
}

// machine is the time of all cores.
type machine struct{ busy, idle time.Duration }

func (m machine) since(n machine) machine { return machine{m.busy - n.busy, m.idle - n.idle} }

func (m machine) busyShare() float64 { return m.busy.Seconds() / max(1e-9, (m.busy+m.idle).Seconds()) }

func machineNow() machine {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machine{}
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	var m machine
	for i, field := range strings.Fields(string(line))[1:] {
		n, _ := strconv.ParseInt(field, 10, 64)
		switch i {
		case 3, 4: // idle, waiting for a disk
			m.idle += time.Duration(n) * tick
		case 8, 9: // guests are counted as user already
		default:
			m.busy += time.Duration(n) * tick
		}
	}
	return m
}

// selfCPU is the processor time of this process.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// use reads the processor times of now.
func (h *hub) use() (usage, error) {
	u := usage{at: time.Now(), self: selfCPU(), machine: machineNow()}
	own, err := readStat(h.pid)
	if err != nil {
		return u, err
	}
	u.hub, u.workers = own.cpu, own.reaped
	for _, c := range h.children() {
		u.workers += c.cpu
	}
	return u, nil
}

// stat is what is used here of /proc/PID/stat.
type stat struct {
	pid, parent int
	cpu         time.Duration
	reaped      time.Duration // of children that are gone
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name
	f := strings.Fields(rest)
	if len(f) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	s := stat{pid: pid, parent: n(1), cpu: time.Duration(n(11)+n(12)) * tick, reaped: time.Duration(n(13)+n(14)) * tick}
	// The same in ns: a live session uses as little as a tick in 10 frames.
	var ts unix.Timespec
	clock := int32(^pid<<3 | 2) //nolint:gosec // G115: CPUCLOCK_SCHED of a process, as clock_getcpuclockid(3) makes it
	if unix.ClockGettime(clock, &ts) == nil {
		s.cpu = time.Duration(ts.Nano())
	}
	return s, nil
}

// children are the hub's decoder processes.
func (h *hub) children() []stat {
	var all []stat
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range paths {
		pid, _ := strconv.Atoi(filepath.Base(p))
		if s, err := readStat(pid); err == nil && s.parent == h.pid {
			all = append(all, s)
		}
	}
	return all
}

// memory is what a process holds, in MB. Of pages that several processes share,
// pss has only its part.
type memory struct{ rss, pss float64 }

func readMemory(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kb, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Rss:":
			m.rss = kb / 1024
		case "Pss:":
			m.pss = kb / 1024
		}
	}
	return m, nil
}

// largest is the memory of the n decoder processes that hold most: those with a job.
func (h *hub) largest(n int) []memory {
	var all []memory
	for _, c := range h.children() {
		if m, err := readMemory(c.pid); err == nil {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b memory) int { return int(1000 * (b.rss - a.rss)) })
	return all[:min(n, len(all))]
}

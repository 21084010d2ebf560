package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// sessionMemory is what a session takes: its decoder process for the most part. hubMemory
// is what the hub takes besides, with an engine.
const (
	sessionMemory = 64 << 20
	hubMemory     = 256 << 20
)

// sessionRoom is how many sessions the memory is enough for; 0: not known.
func sessionRoom(limit int64) int {
	if limit <= 0 {
		return 0
	}
	return int(max(1, (limit-hubMemory)/sessionMemory))
}

// memoryOf is how much memory there is for the process under a root folder, and how much
// of it is used: that of its control group, of either version, or else of the machine; 0:
// not known.
func memoryOf(root string) (limit, used int64) {
	machine := meminfo(root, "MemTotal:")
	limit, used = machine, machine-meminfo(root, "MemAvailable:")
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup")) //nolint:gosec // G304: a name of the kernel; without it there are no groups
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		base, most, now := "sys/fs/cgroup", "memory.max", "memory.current"
		switch controllers {
		case "": // version 2
		case "memory":
			base, most, now = "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
		default:
			continue
		}
		// A container sees its own group as the root, wherever it is; limits of the
		// groups around ours hold, too.
		for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
			group := filepath.Join(root, base, dir)
			if n := number(group, most); n > 0 && (limit == 0 || n < limit) {
				limit, used = n, number(group, now)
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit, used
}

// meminfo is a number of /proc/meminfo, in bytes; 0: there is none.
func meminfo(root, name string) int64 {
	text, _ := os.ReadFile(filepath.Join(root, "proc/meminfo")) //nolint:gosec // G304: a name of the kernel
	for line := range strings.Lines(string(text)) {
		if kib, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 64) // 0 if it is none
			return n << 10
		}
	}
	return 0
}

// number is what is in a file of the kernel; 0: none.
func number(dir, name string) int64 {
	text, _ := os.ReadFile(filepath.Join(dir, name))                    //nolint:gosec // G304: names of the kernel
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // or "max"
	if err != nil {
		return 0
	}
	return n
}

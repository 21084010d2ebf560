// Package sandbox makes a process give up what it has no need of, for good and in all
// of its threads, before it reads the first byte of a stranger.
//
// [Enter] puts layers on top of each other, so that a hole in one is covered by
// another:
//
//	descriptors  everything that is open and was not meant for the process is closed
//	rlimits      memory, files, and none of them written, no core
//	landlock     no file can be opened, no TCP port, no signal sent to others
//	seccomp      what is left of the kernel: memory, threads, time, and what is open
//
// What is open before stays open: a process gets what it works on as descriptors.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mode says how much of the sandbox must be there.
type Mode string

// The modes. In none of them does a layer that the kernel has fail quietly.
const (
	Require    Mode = "require"     // every layer, or nothing runs
	BestEffort Mode = "best-effort" // every layer that the kernel has
	Off        Mode = "off"         // descriptors and rlimits only
)

// Modes are all of them.
var Modes = []string{string(Require), string(BestEffort), string(Off)}

// Config is what a process keeps.
type Config struct {
	Mode Mode
	// Memory bounds its data, in bytes (RLIMIT_DATA). Not its addresses: Go reserves
	// gigabytes of them.
	Memory int64
	// Keep are the descriptors that stay open.
	Keep []int
}

// Report says which layers are in force, and why others are not.
type Report struct {
	Active  []string `json:"active"`
	Missing []string `json:"missing,omitempty"`
}

// maxFiles bounds the descriptors of a process, in number: six are enough.
const maxFiles = 64

// Enter gives everything up that is not in the Config. The caller's goroutine must be
// locked to its thread, and the process must end if there is an error.
func Enter(c Config) (r Report, err error) {
	add := func(layer string, err error) error {
		if lacking, ok := errors.AsType[*lackingError](err); ok {
			r.Missing = append(r.Missing, layer+": "+lacking.Error())
			return nil
		}
		if err != nil {
			return fmt.Errorf("sandbox: %s: %w", layer, err)
		}
		r.Active = append(r.Active, layer)
		return nil
	}
	if err := add("descriptors", closeOthers(c.Keep)); err != nil {
		return r, err
	}
	if err := add("rlimits", limit(c.Memory)); err != nil {
		return r, err
	}
	if c.Mode == Off {
		r.Missing = append(r.Missing, "landlock: off", "seccomp: off")
		return r, nil
	}
	if err := add(restrict()); err != nil {
		return r, err
	}
	if err := add("seccomp", filter()); err != nil {
		return r, err
	}
	if c.Mode == Require && len(r.Missing) > 0 {
		return r, fmt.Errorf("sandbox: require, but this machine or its container lacks %s; best-effort goes without", strings.Join(r.Missing, ", "))
	}
	return r, nil
}

// lackingError says that the kernel does not have a layer.
type lackingError struct{ why string }

func (e *lackingError) Error() string { return e.why }

// closeOthers closes what the parent had open by mistake: a library that forgets
// O_CLOEXEC there would hand its files to every process here. What the Go runtime
// waits on has no name, and stays.
func closeOthers(keep []int) error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range open {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= 2 || slices.Contains(keep, fd) {
			continue
		}
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasPrefix(name, "anon_inode:[event") {
			continue // that of ReadDir itself, or the runtime's
		}
		_ = unix.Close(fd)
	}
	return nil
}

func limit(memory int64) error {
	for what, most := range map[int]uint64{
		unix.RLIMIT_DATA:   uint64(max(0, memory)),
		unix.RLIMIT_NOFILE: maxFiles,
		unix.RLIMIT_FSIZE:  0,
		unix.RLIMIT_CORE:   0,
	} {
		var have unix.Rlimit
		if err := unix.Getrlimit(what, &have); err != nil {
			return err
		}
		most = min(most, have.Max)
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return nil
}

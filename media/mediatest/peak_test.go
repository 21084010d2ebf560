//go:build cgo

package mediatest_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
)

// peaks is a pipe in which decoder processes tell the most memory they had. What the
// kernel tells of a child that has ended will not do: until it executes a program it
// shares its parent's memory, and that counts as its own.
type peaks struct {
	path string
	pipe *os.File
	rest string // of a line that is not whole yet
}

func newPeaks(t *testing.T) *peaks {
	t.Helper()
	p := &peaks{path: filepath.Join(t.TempDir(), "peaks")}
	err := unix.Mkfifo(p.path, 0o600)
	if err == nil {
		p.pipe, err = os.OpenFile(p.path, os.O_RDWR, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.pipe.Close() })
	return p
}

// read gives what was told so far, in kB.
func (p *peaks) read(t *testing.T) []int {
	t.Helper()
	_ = p.pipe.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	text, err := io.ReadAll(p.pipe)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	p.rest += string(text)
	var all []int
	for {
		line, rest, whole := strings.Cut(p.rest, "\n")
		if !whole {
			return all
		}
		p.rest = rest
		kB, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kB)
	}
}

// tellPeak is the loop, and tells the pipe at its end. The files are opened here,
// before the process gives up the right to.
func tellPeak(path string, loop media.Loop) (_ media.Loop, keep []*os.File) {
	pipe, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	status, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	return func(h media.Host, input *os.File, job media.Job) (media.DecodeStats, error) {
		st, err := loop(h, input, job)
		fmt.Fprintln(pipe, peak(status))
		return st, err
	}, []*os.File{pipe, status}
}

// peak is this process's largest resident memory, in kB.
func peak(status *os.File) (kB int) {
	for r := io.NewSectionReader(status, 0, 1<<16); ; {
		var name string
		if _, err := fmt.Fscan(r, &name); err != nil {
			return 0
		}
		if name == "VmHWM:" {
			_, _ = fmt.Fscan(r, &kB)
			return kB
		}
	}
}

package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"detections/media"
	"detections/media/worker/sandbox"
)

// escapes are system calls by which code in a decoder process could reach for something
// else. The process is ended by each.
var escapes = map[string]func(path *byte) error{
	"exec":   func(path *byte) error { return raw(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), 0, 0) },
	"socket": func(*byte) error { return raw(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0) },
	"unix":   func(*byte) error { return raw(unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_STREAM, 0) },
	"kill":   func(*byte) error { return raw(unix.SYS_KILL, uintptr(os.Getppid()), uintptr(unix.SIGKILL), 0) },
	"ptrace": func(*byte) error { return raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()), 0) },
	"memory": func(*byte) error { return raw(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0) },
	"mount":  func(*byte) error { return raw(unix.SYS_MOUNT, 0, 0, 0) },
	"spaces": func(*byte) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
	"bpf":    func(*byte) error { return raw(unix.SYS_BPF, 0, 0, 0) },
	"rings":  func(*byte) error { return raw(unix.SYS_IO_URING_SETUP, 1, 0, 0) },
	"events": func(*byte) error { return raw(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) },
	"faults": func(*byte) error { return raw(unix.SYS_USERFAULTFD, 0, 0, 0) },
}

// refused are system calls that fail with EPERM: libraries make them without meaning harm.
var refused = map[string]func(path *byte) error{
	"open": func(path *byte) error {
		return raw(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(path)), unix.O_RDONLY) // AT_FDCWD
	},
	"create": func(path *byte) error {
		return raw(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(path)), unix.O_CREAT|unix.O_WRONLY)
	},
	"stat":   func(path *byte) error { return raw(unix.SYS_STATX, ^uintptr(99), uintptr(unsafe.Pointer(path)), 0) },
	"unlink": func(path *byte) error { return raw(unix.SYS_UNLINKAT, ^uintptr(99), uintptr(unsafe.Pointer(path)), 0) },
	"signal": func(*byte) error {
		return raw(unix.SYS_TGKILL, uintptr(os.Getppid()), uintptr(os.Getppid()), 0)
	},
	"shared memory": func(*byte) error {
		_, _, e := unix.Syscall6(unix.SYS_MMAP, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
		if e != 0 {
			return e
		}
		return nil
	},
	"a file in memory": func(path *byte) error { return raw(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(path)), 0, 0) },
	"code":             func(*byte) error { return raw(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC) },
	"ioctl":            func(*byte) error { return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0) },
	"seals":            func(*byte) error { return raw(unix.SYS_FCNTL, ordersFD, unix.F_ADD_SEALS, 0) },
	"own limit":        func(*byte) error { return raw(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_DATA, 1) },
	"our limit":        func(*byte) error { return raw(unix.SYS_PRLIMIT64, uintptr(os.Getppid()), unix.RLIMIT_CPU, 1) },
}

func raw(trap, a, b, c uintptr) error {
	if _, _, e := unix.Syscall(trap, a, b, c); e != 0 {
		return e
	}
	return nil
}

// eaten is memory that is kept.
var eaten [][]byte

// canary is a file that a process must not be able to open.
const canary = "/etc/passwd"

// breakOut is what a process does whose code was taken over.
func breakOut(how string) (done bool, err error) {
	path, _ := unix.BytePtrFromString(canary)
	if try := escapes[how]; try != nil {
		return true, fmt.Errorf("nothing ends the process: %w", try(path))
	}
	if try := refused[how]; try != nil {
		return true, errors.New("the answer is " + fmt.Sprint(try(path)))
	}
	switch how {
	case "abort":
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGABRT)
	case "eat memory":
		for ; ; eaten = append(eaten, slices.Repeat([]byte{1}, 1<<20)) {
		}
	case "spin":
		for spun := 0; ; spun++ {
			runtime.KeepAlive(spun)
		}
	case "descriptors":
		var open []string
		for fd := range 64 {
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
				open = append(open, fmt.Sprint(fd))
			}
		}
		return true, fmt.Errorf("%d files", len(open))
	}
	return false, nil
}

func TestWhoReachesOutOfTheSandboxIsKilled(t *testing.T) {
	p := pool(t, Config{})
	other := begin(t, p, "", 1000)
	for how := range escapes {
		begun := time.Now()
		n, err := finish(t, begin(t, p, how, 10))
		if n != 3 || !errors.Is(err, media.ErrCrashed) || !strings.Contains(err.Error(), "SIGSYS") {
			t.Errorf("%s: %d frames, err %v", how, n, err)
		}
		t.Logf("%-8s %v", how, time.Since(begun).Round(time.Microsecond))
	}
	if n, err := finish(t, other); n != 1000 || !errors.Is(err, io.EOF) {
		t.Errorf("another session: %d frames, err %v", n, err)
	}
}

func TestFilesAndOtherProcessesAreOutOfReach(t *testing.T) {
	p := pool(t, Config{})
	for how := range refused {
		if _, err := finish(t, begin(t, p, how, 10)); err.Error() != "the answer is operation not permitted" {
			t.Errorf("%s: %v", how, err)
		}
	}
}

// TestWithoutTheSandboxAFileCanBeOpened shows that the tests above would notice.
func TestWithoutTheSandboxAFileCanBeOpened(t *testing.T) {
	if _, err := finish(t, begin(t, pool(t, Config{Sandbox: sandbox.Off}), "open", 10)); err.Error() != "the answer is <nil>" {
		t.Error(err)
	}
}

func TestAProcessThatAbortsOrEatsMemoryEndsAlone(t *testing.T) {
	p := pool(t, Config{})
	for how, want := range map[string]string{"abort": "SIGABRT", "eat memory": "exited with status"} {
		n, err := finish(t, begin(t, p, how, 10))
		if n != 3 || !errors.Is(err, media.ErrCrashed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d frames, err %v", how, n, err)
		}
	}
}

func TestProcessorTimeOfOneStepIsBounded(t *testing.T) {
	n, err := finish(t, begin(t, pool(t, Config{FrameCPU: time.Millisecond}), "spin", 10))
	if n != 3 || !errors.Is(err, media.ErrStalled) || !strings.Contains(err.Error(), "max-frame-cpu") {
		t.Errorf("%d frames, err %v", n, err)
	}
}

func TestWhatTheParentForgotToCloseIsClosed(t *testing.T) {
	for range 3 {
		fd, err := unix.Open(filepath.Join(t.TempDir(), "leak"), unix.O_CREAT|unix.O_RDWR, 0o600) // not O_CLOEXEC
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if _, err := finish(t, begin(t, pool(t, Config{}), "descriptors", 10)); err.Error() != "1 files" {
		t.Errorf("%v are open, expected the input", err)
	}
}

func TestProbeTellsTheSandbox(t *testing.T) {
	for mode, want := range map[sandbox.Mode]int{sandbox.BestEffort: 4, sandbox.Off: 2} {
		r, err := pool(t, Config{Sandbox: mode}).Probe(t.Context())
		if err != nil || len(r.Active)+len(r.Missing) != 4 || mode == sandbox.Off && len(r.Active) != want {
			t.Errorf("%s: %+v, err %v", mode, r, err)
		}
		t.Logf("%s: %+v", mode, r)
	}
	if _, err := pool(t, Config{Path: "/bin/false"}).Probe(t.Context()); err == nil {
		t.Error("a program that ends at once is a decoder")
	}
}

//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"detections/infer/ort"
	"detections/media/worker"
)

// checkTime is how long a model may take to load and run once where it is tried first, at
// low priority beside a hub that may have more to do than it can.
const checkTime = 5 * time.Minute

// childJob is what a process of its own does with a model: `model build` for one
// provider. It can crash, hang or take all the memory, and the hub goes on.
type childJob struct {
	provider string
	path     string        // of the model; empty: the embedded one
	memory   int64         // bytes that it may have; 0: any number
	limit    time.Duration // how long it may take; 0: as long as it likes
	spare    bool          // it gets only the time of processors that nobody else wants
}

// errStarved says that a child in spare time got next to none.
var errStarved = errors.New("there is no time to spare")

// child does a job, and says what went wrong. report is told how far it is, nil: nobody.
func (s *settings) child(ctx context.Context, j childJob, report func(percent float64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if j.limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, j.limit, fmt.Errorf("it took longer than %v to load and run once", j.limit))
		defer stop()
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", s.childArgs(j)...) //nolint:gosec // G204: this program
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, envName("")) })
	var said bytes.Buffer
	cmd.Stderr = &limitedBuffer{&said}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	var watched sync.WaitGroup
	defer watched.Wait()
	if j.spare && ort.Yield(cmd.Process.Pid) == nil { // it begins with that, and does the same for its other threads
		alive, dead := context.WithCancel(ctx)
		defer dead()
		watched.Go(func() {
			starve(alive, time.Second, func() time.Duration { return worker.ProcessTime(cmd.Process.Pid) }, cancel)
		})
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	err := s.await(done, j, report)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return j.explain(err, said.String())
}

// leastSpare is the part of a processor without which it makes no sense to go on.
const leastSpare = 0.1

// starve looks after each time whether a process has used that part of it, and else ends it.
func starve(ctx context.Context, each time.Duration, used func() time.Duration, end context.CancelCauseFunc) {
	begun, tick := time.Now(), time.NewTicker(each)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if used().Seconds() < leastSpare*time.Since(begun).Seconds() {
			end(errStarved)
			return
		}
	}
}

// await waits for the child. How far it is follows from how long it took the last time:
// the libraries do not tell.
func (s *settings) await(done <-chan error, j childJob, report func(percent float64)) error {
	if report == nil {
		return <-done
	}
	begun, tick := time.Now(), time.NewTicker(time.Second)
	defer tick.Stop()
	expected := s.buildTime(j.provider)
	for {
		select {
		case err := <-done:
			if err == nil {
				s.rememberBuild(j.provider, time.Since(begun))
			}
			return err
		case <-tick.C:
			percent := -1.0
			if expected > 0 {
				percent = min(99, 100*float64(time.Since(begun))/float64(expected))
			}
			report(percent)
		}
	}
}

func (s *settings) childArgs(j childJob) []string {
	args := []string{
		"model", "build", "--child", "--providers", j.provider, "--data", s.data, "--max-batch", strconv.Itoa(s.schedule.maxBatch),
		"--memory", strconv.FormatInt(j.memory, 10), "--spare=" + strconv.FormatBool(j.spare),
	}
	if j.path != "" {
		args = append(args, "--model", j.path)
	}
	if s.ortLibrary != "" {
		args = append(args, "--ort-library", s.ortLibrary)
	}
	return append(args, s.gpu.args()...)
}

// explain says in words what became of a child.
func (j childJob) explain(err error, said string) error {
	words := strings.TrimSpace(said)
	if i := strings.LastIndex(words, "detections: "); i >= 0 {
		words = words[i+len("detections: "):]
	}
	words, _, _ = strings.Cut(words, "\nTry '")
	lower := strings.ToLower(said)
	for _, sign := range []string{"bad_alloc", "out of memory", "cannot allocate memory", "failed to allocate", "bytes of tensor memory", ort.NoMemory} {
		if j.memory > 0 && strings.Contains(lower, sign) {
			return fmt.Errorf("it needs more memory than there is: expected at most %s for each engine%s", humanize.IBytes(uint64(j.memory)), inVain(said))
		}
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if ok && exit.Exited() && exit.ExitCode() == exitFailed && words != "" {
		return errors.New(words)
	}
	if ok {
		if st, isStatus := exit.Sys().(syscall.WaitStatus); isStatus && st.Signaled() {
			return fmt.Errorf("it crashed the process that tried it (%s)", st.Signal())
		}
	}
	first, _, _ := strings.Cut(words, "\n")
	return fmt.Errorf("it crashed the process that tried it (%w): %.200s", err, first)
}

// forOne finds how many bytes a model asked for in vain.
var forOne = regexp.MustCompile(ort.NoMemory + `: (\d+) bytes for one value`)

// inVain is what was found instead, if that is known.
func inVain(said string) string {
	found := forOne.FindStringSubmatch(said)
	if found == nil {
		return ""
	}
	n, err := strconv.ParseUint(found[1], 10, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", found %s for one value", humanize.IBytes(n))
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct{ *bytes.Buffer }

const maxSaid = 64 << 10

func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, maxSaid-b.Len()))])
	return len(p), nil
}

// beModest is for the process that tries a model: it gives way to others, is the first
// to go when memory runs out, and may have only so much of it.
func beModest(memory int64, spare bool) error {
	lowerAll(10)
	if spare {
		eachThread(func(id int) { _ = ort.Yield(id) }) // it may have ended
	}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	if memory <= 0 {
		return nil
	}
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: uint64(memory), Max: uint64(memory)})
}

// lowerAll lowers the priority of the process. That is of each of its threads for itself
// on Linux. Where it was started with a low one, it is lowered from there.
func lowerAll(by int) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return
	}
	eachThread(func(id int) { _ = unix.Setpriority(unix.PRIO_PROCESS, id, min(19, 20-raw+by)) }) // it may have ended
}

// eachThread does something to the threads of the process. Those to come inherit it.
func eachThread(do func(id int)) {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			do(id)
		}
	}
}

// memoryRoom is how much memory there is for new engines, as the machine and the
// container's limit have it; 0: not known.
func memoryRoom() int64 {
	limit, used := memoryOf("/")
	return max(0, limit-used)
}

// minRoom is what the process that tries a model gets in any case.
const minRoom = 256 << 20

// modelRoom is how much memory one engine of a model can have on the processors.
func (s *settings) modelRoom(sha256 string) int64 {
	room := memoryRoom()
	if room == 0 {
		return 0
	}
	l, _ := s.layout(sha256, cores()) // else it is the default
	return max(minRoom, room*9/10/int64(l.Engines))
}

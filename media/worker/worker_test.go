package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"detections/media"
	"detections/media/worker/sandbox"
)

// The test binary is its own decoder process, with a loop that behaves as
// Job.Container says.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Argument {
		Child(pretend)
	}
	if len(os.Args) == 2 && os.Args[1] == "parent" {
		beParent()
	}
	goleak.VerifyTestMain(m)
}

var oneView = []media.View{{Width: 8, Height: 8}}

func pool(t testing.TB, cfg Config) *Pool {
	t.Helper()
	p := NewPool(cfg)
	t.Cleanup(func() { p.Close() })
	return p
}

// begin starts a job over n frames' worth of input, all of it given.
func begin(t testing.TB, p *Pool, behaviour string, n int) media.Decoder {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "input"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range n {
		fmt.Fprintf(f, "%0100d", i)
	}
	d, err := p.Start(t.Context(), f, media.Job{Views: oneView, Container: behaviour})
	if err != nil {
		t.Fatal(err)
	}
	d.Grow(int64(100*n), true)
	return d
}

// finish reads frames to the end and counts them.
func finish(t testing.TB, d media.Decoder) (frames int, err error) {
	t.Helper()
	for {
		o, err := d.Next(t.Context())
		if err != nil {
			return frames, err
		}
		if o.Frame != nil {
			frames++
			o.Frame.Release()
		}
	}
}

func TestFramesComeThroughSharedMemory(t *testing.T) {
	d := begin(t, pool(t, Config{}), "", 50)
	for i := range 50 {
		o, err := d.Next(t.Context())
		if err != nil || o.Frame == nil || o.Frame.Index != int64(i) {
			t.Fatalf("output %+v, err %v", o, err)
		}
		if want := fmt.Sprintf("%0100d", 0)[:64]; i == 0 && string(o.Frame.Views[0].Pix[:64]) != want {
			t.Errorf("pixels %q", o.Frame.Views[0].Pix)
		}
		if g := (media.Geometry{SourceW: 4, SourceH: 4, Y: 2, W: 8, H: 4}); o.Frame.Views[0].Geometry != g {
			t.Errorf("geometry %+v", o.Frame.Views[0].Geometry)
		}
		o.Frame.Release()
	}
	if _, err := d.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if st := d.Stats(); st.Decoded != 50 || st.Picked != 50 {
		t.Errorf("stats %+v", st)
	}
}

func TestAResumedJobGoesOnCounting(t *testing.T) {
	p := pool(t, Config{})
	f, err := os.Create(filepath.Join(t.TempDir(), "input"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	d, err := p.Start(t.Context(), f, media.Job{Views: oneView, Resume: new(checkpoint(5))})
	if err != nil {
		t.Fatal(err)
	}
	if st := d.Stats(); st.Picked != 6 {
		t.Errorf("stats %+v before the first frame", st)
	}
	d.Grow(1000, true)
	for i := int64(6); i < 10; i++ {
		o, err := d.Next(t.Context())
		if err != nil || o.Frame.Checkpoint != checkpoint(i) || o.Frame.Index != i {
			t.Fatalf("output %+v, err %v", o, err)
		}
		o.Frame.Release()
	}
	if n, err := finish(t, d); n != 0 || !errors.Is(err, io.EOF) || d.Stats().Picked != 10 {
		t.Errorf("%d frames more, stats %+v, err %v", n, d.Stats(), err)
	}
}

func TestADeadProcessIsExplained(t *testing.T) {
	p := pool(t, Config{})
	for behaviour, want := range map[string]string{
		"crash":  "was killed by SIGSEGV",
		"exit":   "exited with status 7",
		"killed": "was killed by SIGKILL",
		"panic":  "exited with status 2",
	} {
		n, err := finish(t, begin(t, p, behaviour, 10))
		if n != 3 || !errors.Is(err, media.ErrDecode) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %d frames, err %v", behaviour, n, err)
		}
	}
	if n, err := finish(t, begin(t, p, "", 10)); n != 10 || !errors.Is(err, io.EOF) {
		t.Errorf("afterwards: %d frames, err %v", n, err)
	}
}

func TestALieEndsTheProcess(t *testing.T) {
	p := pool(t, Config{})
	for _, behaviour := range []string{
		"a held slot", "a slot that is not there", "a huge picture", "no picture", "an old frame",
		"a frame that was not decoded", "a time out of this world", "input that was not given",
		"wrong counters", "counters that shrink", "a key packet that goes back", "a packet that was not read",
		"a reading that goes back", "a negative number", "an endless delay", "an impossible rate", "a rule that was not asked for", "another protocol",
		"an unknown message", "a message that is too long", "a torn frame", "a wrong note", "an unknown end",
	} {
		d := begin(t, p, behaviour, 10)
		var held *media.Frame
		n := 0
		var err error
		for err == nil {
			var o media.Output
			if o, err = d.Next(t.Context()); err != nil {
				break
			}
			if n++; n == 1 {
				held = o.Frame // slot 0
				continue
			}
			o.Frame.Release()
		}
		if n != 3 || !errors.Is(err, media.ErrDecode) || !strings.Contains(err.Error(), "broke its protocol") {
			t.Errorf("%s: %d frames, err %v", behaviour, n, err)
		}
		held.Release()
	}
}

func TestAnErrorOfTheLoopComesThrough(t *testing.T) {
	_, err := finish(t, begin(t, pool(t, Config{}), "refuse", 10))
	if !errors.Is(err, media.ErrUnsupported) || err.Error() != "no  thanks" {
		t.Errorf("err %q", err)
	}
}

func TestTheLastWordsOfAProcessThatDidNotListenAreHeard(t *testing.T) {
	d := begin(t, pool(t, Config{}), "does not listen", 10)
	ended := make(chan struct{})
	var talk sync.WaitGroup
	talk.Go(func() {
		for size := int64(1001); ; size++ {
			select {
			case <-ended:
				return
			default:
				d.Grow(size, false)
			}
		}
	})
	_, err := finish(t, d)
	close(ended)
	talk.Wait()
	if !errors.Is(err, media.ErrUnsupported) || err.Error() != "no, and I did not listen" {
		t.Errorf("err %q", err)
	}
}

func TestTheProcessHasLimitsAndNoEnvironment(t *testing.T) {
	d := begin(t, pool(t, Config{}), "limits", 10)
	if _, err := d.Next(t.Context()); err != nil { // it is at work
		t.Fatal(err)
	}
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", d.(*decoder).proc.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		t.Fatal(err)
	}
	for _, thread := range threads {
		id, _ := strconv.Atoi(thread.Name())
		if its, err := unix.Getpriority(unix.PRIO_PROCESS, id); err == nil && its != max(own-lowered, 1) {
			t.Errorf("a thread has priority %d, its parent %d", its, own)
		}
		late, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if gone := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH); !gone && strings.TrimSpace(string(late)) != "1000000000" {
			t.Errorf("a thread is woken with a slack of %q ns (%v)", late, err)
		}
	}
	_, err = finish(t, d)
	if want := "536870912 64 0 0 env 0 procs 1"; err.Error() != want {
		t.Errorf("it has %q, want %q", err, want)
	}
}

func TestAHangingProcessIsKilled(t *testing.T) {
	p := pool(t, Config{Stall: 100 * time.Millisecond})
	for _, behaviour := range []string{"hang", "claims to wait"} {
		n, err := finish(t, begin(t, p, behaviour, 10))
		if n != 3 || !errors.Is(err, media.ErrStalled) {
			t.Errorf("%s: %d frames, err %v", behaviour, n, err)
		}
	}
}

func TestWaitingForWhatIsNotThereIsNoStall(t *testing.T) {
	p := pool(t, Config{})
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	m, err := p.Start(t.Context(), f, media.Job{Views: oneView})
	if err != nil {
		t.Fatal(err)
	}
	d := m.(*decoder)
	for state(d.ring.status().state.Load()) != awaitingInput {
		runtime.Gosched()
	}
	if _, fine := d.look(); !fine {
		t.Error("waiting for input that does not exist counts as a stall")
	}
	d.size = 200
	if _, fine := d.look(); fine {
		t.Error("waiting for input that is there does not count as a stall")
	}
}

func TestAProcessThatDoesNotReadBlocksNobody(t *testing.T) {
	d := begin(t, pool(t, Config{}), "", 10).(*decoder)
	_ = unix.Kill(d.proc.cmd.Process.Pid, unix.SIGSTOP)
	for i := range 100_000 {
		d.Grow(int64(1000+i), false)
		d.Configure(uint32(i), media.Sample{})
	}
	if len(d.ids) > maxRules+1 {
		t.Errorf("%d rules are kept", len(d.ids))
	}
	d.Close()
}

func TestAProcessThatReadsLateHearsEverything(t *testing.T) {
	d := begin(t, pool(t, Config{}), "", 1000).(*decoder)
	_ = unix.Kill(d.pid, unix.SIGSTOP)
	again := (&feed{size: 100_000, final: true}).append(nil)
	for d.proc.tell(again) == nil { // until the socket is full
	}
	const rules = 5 // the first finds no room, the others wait for it
	for id := range uint32(rules) {
		d.Configure(id, media.Sample{Every: 2})
	}
	_ = unix.Kill(d.pid, unix.SIGCONT)
	for id := uint32(0); id < rules; {
		o, err := d.Next(t.Context())
		if err != nil {
			t.Fatalf("it ended before it heard of rule %d: %v", id, err)
		}
		if o.Frame != nil {
			o.Frame.Release()
		}
		if o.Rule != nil {
			if o.Rule.ID != id {
				t.Fatalf("rule %d came before %d", o.Rule.ID, id)
			}
			id++
		}
	}
}

func TestAProcessThatLeavesAChildBehindBlocksNobody(t *testing.T) {
	d := begin(t, pool(t, Config{Sandbox: sandbox.Off}), "leaves a child", 10).(*decoder)
	defer func() { _ = unix.Kill(-d.pid, unix.SIGKILL) }()
	for d.ring.status().state.Load() != hasLeft {
		runtime.Gosched()
	}
	for d.proc.tell((&feed{size: 1000}).append(nil)) == nil { // until the socket is full
	}
	d.Grow(1001, false)
	for all := make([]byte, 1<<20); !bytes.Contains(all[:runtime.Stack(all, true)], []byte("unix.Poll(")); {
		runtime.Gosched() // until it waits
	}
	d.Close()
}

func TestChatterIsBounded(t *testing.T) {
	d := begin(t, pool(t, Config{}), "chatter", 10)
	if n, err := finish(t, d); n != 10 || !errors.Is(err, io.EOF) {
		t.Errorf("%d frames, err %v", n, err)
	}
}

func TestConfigureComesBackInOrder(t *testing.T) {
	d := begin(t, pool(t, Config{}), "", 1000)
	for id := range uint32(10) {
		d.Configure(id+1, media.Sample{Every: 2})
	}
	var next uint32 = 1
	for {
		o, err := d.Next(t.Context())
		if err != nil {
			break
		}
		if o.Frame != nil {
			o.Frame.Release()
		}
		if o.Rule != nil {
			if o.Rule.ID != next {
				t.Errorf("rule %d, want %d", o.Rule.ID, next)
			}
			next++
		}
	}
	if next != 11 {
		t.Errorf("%d rules came back", next-1)
	}
}

func TestCloseEndsAWaitingNext(t *testing.T) {
	p := pool(t, Config{})
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	d, err := p.Start(t.Context(), f, media.Job{Views: oneView})
	if err != nil {
		t.Fatal(err)
	}
	pid := d.(*decoder).proc.cmd.Process.Pid
	got := make(chan error)
	go func() {
		_, err := d.Next(t.Context())
		got <- err
	}()
	d.Close()
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Errorf("err %v", err)
	}
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("the process is still there: %v", err)
	}
}

func TestPoolIsBounded(t *testing.T) {
	p := pool(t, Config{Max: 2})
	a, b := begin(t, p, "", 1), begin(t, p, "", 1)
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Start(ctx, f, media.Job{Views: oneView}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third job: %v", err)
	}
	a.Close()
	if p.Running() != 1 {
		t.Errorf("%d jobs", p.Running())
	}
	begin(t, p, "", 1).Close()
	b.Close()
}

func TestPoolCloseEndsEverything(t *testing.T) {
	p := NewPool(Config{Idle: 3})
	d := begin(t, p, "", 10)
	o, err := d.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if string(o.Frame.Views[0].Pix[:3]) != "000" {
		t.Error("a held frame lost its pixels")
	}
	o.Frame.Release()
	if _, err := d.Next(t.Context()); err == nil {
		if _, err = d.Next(t.Context()); err == nil {
			t.Error("the job goes on")
		}
	}
	if _, err := p.Start(t.Context(), os.Stdin, media.Job{Views: oneView}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
}

func TestAJobThatComesWhileThePoolClosesGivesItsPlaceBack(t *testing.T) {
	p := pool(t, Config{})
	active := p.active
	p.active = nil
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	if _, err := p.Start(t.Context(), f, media.Job{Views: oneView}); !errors.Is(err, os.ErrClosed) || p.Running() != 0 {
		t.Errorf("err %v, %d places are taken", err, p.Running())
	}
	p.active = active
}

// A process whose caller holds frames gets the other slots back, however many those are.
func TestASlotThatIsReleasedCanBeUsedAgain(t *testing.T) {
	p := pool(t, Config{})
	for held := range defaultSlots {
		d := begin(t, p, "", 40)
		for i := range 40 {
			o, err := d.Next(t.Context())
			if err != nil {
				t.Fatalf("frame %d, %d are held: %v", i, held, err)
			}
			if i >= held { // the others to the end
				o.Frame.Release()
			}
		}
		d.Close()
	}
}

// beParent is a parent that dies without closing anything. It names its processes
// first: one at work, and one that waits.
func beParent() {
	p := NewPool(Config{})
	f, _ := os.Open(os.DevNull)
	m, err := p.Start(context.Background(), f, media.Job{Views: oneView})
	if err != nil {
		os.Exit(1)
	}
	idle := <-p.idle
	fmt.Println(m.(*decoder).proc.cmd.Process.Pid, idle.cmd.Process.Pid)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func TestProcessesEndWithTheirParent(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "parent")
	out, err := cmd.Output() // ends when all of them have closed it, or never had it
	if _, killed := errors.AsType[*exec.ExitError](err); !killed {
		t.Fatal(err)
	}
	for pid := range strings.FieldsSeq(string(out)) {
		n, _ := strconv.Atoi(pid)
		// They are not ours to wait for; pidfd tells when they are gone.
		fd, err := unix.PidfdOpen(n, 0)
		if err != nil {
			continue // already
		}
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		unix.Close(fd)
		if ready != 1 {
			t.Errorf("process %d lives on (%v)", n, err)
		}
	}
	if len(strings.Fields(string(out))) != 2 {
		t.Errorf("processes %q", out)
	}
}

func TestAMissingBinaryIsAnError(t *testing.T) {
	p := pool(t, Config{Path: "/nowhere/detections"})
	f, _ := os.Open(os.DevNull)
	defer f.Close()
	if _, err := p.Start(t.Context(), f, media.Job{Views: oneView}); !errors.Is(err, media.ErrStarting) {
		t.Errorf("err %v", err)
	}
	p = pool(t, Config{Path: "/bin/false"})
	d, err := p.Start(t.Context(), f, media.Job{Views: oneView})
	if err == nil {
		_, err = d.Next(t.Context())
	}
	if !errors.Is(err, media.ErrStarting) {
		t.Errorf("err %v", err)
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	d := begin(t, pool(t, Config{}), "", 10_000)
	if n := testing.AllocsPerRun(1000, func() {
		o, err := d.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o.Frame.Release()
	}); n > 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

package worker

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"

	"detections/media"
	"detections/media/worker/sandbox"
)

// The sockets of a decoder process: what it is told, and what it says.
const (
	ordersFD  = 3
	reportsFD = 4
)

// Child is the main of a decoder process: it gives up what it has no need of, waits
// for one job, runs the loop on it, and ends the process. It does not return. Files to
// keep are for tests; there are none in a decoder process.
func Child(loop media.Loop, keep ...*os.File) {
	runtime.LockOSThread() // the loop stays on this thread
	debug.SetGCPercent(50)
	os.Clearenv() // the runtime has read it
	// If memory runs out, this is the process to take.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	dieBySignal()

	c := &child{}
	if err := c.lockDown(keep); err != nil {
		c.finish(media.DecodeStats{}, &media.Error{Kind: media.ErrStarting, Message: err.Error()})
	}
	input, err := c.receiveJob()
	if err != nil {
		os.Exit(2)
	}
	c.finish(loop(c, input, c.job.Job))
}

// lockDown enters the sandbox, and tells the parent what it is made of. It is over
// before there is a job: a session does not wait for it, and no untrusted byte comes
// before it.
func (c *child) lockDown(keep []*os.File) error {
	b := make([]byte, maxJob)
	n, err := unix.Read(ordersFD, b)
	if err == nil && n == 0 {
		os.Exit(0)
	}
	if err != nil || n < 2 || b[0] != protocol || b[1] != msgSetup {
		return errors.Join(errMessage, err)
	}
	var s setup
	if err := json.Unmarshal(b[2:n], &s); err != nil {
		return err
	}
	fds := []int{ordersFD, reportsFD}
	for _, f := range keep {
		fds = append(fds, int(f.Fd()))
	}
	report, err := sandbox.Enter(sandbox.Config{Mode: s.Mode, Memory: s.Memory, Keep: fds})
	if err != nil {
		return err
	}
	c.cpu = cpuBudget{perStep: s.CPU}
	c.cpu.renew()
	if b, err = appendJSON(b[:0], msgHello, report); err != nil {
		return err
	}
	send(b)
	return nil
}

// finish tells how the loop ended, and ends the process.
func (c *child) finish(st media.DecodeStats, err error) {
	e := end{Stats: st}
	if err != nil {
		e.Kind, e.Message = kindName(err), err.Error()[:min(len(err.Error()), maxText)]
	}
	b, err := appendJSON(nil, msgEnd, e)
	if err != nil {
		os.Exit(2)
	}
	send(b)
	os.Exit(0)
}

// send says something to the parent, however long it takes: the socket is bounded,
// and a parent that does not listen has no use for more frames.
func send(b []byte) {
	for {
		_, err := unix.Write(reportsFD, b)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			os.Exit(0) // the parent is gone
		}
	}
}

// dieBySignal takes Go's handlers from the signals of a crash. They would print a
// trace out of a damaged process and exit with status 2; the parent wants to know
// the signal.
func dieBySignal() {
	var byDefault [4]uint64 // a struct sigaction of zeros: SIG_DFL
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGABRT, unix.SIGTRAP, unix.SIGSYS, unix.SIGXCPU} {
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0)
	}
}

// child is the process's side of a job: the media.Host of its loop. It has no goroutine
// of its own: what the parent says is read when there is use for it, because to be woken
// by another goroutine costs a live decoder as much as a tenth of its pictures.
type child struct {
	// Static once the job has come.
	job    job
	ring   ring
	status *status
	frames []*media.Frame
	slots  map[*media.Frame]int

	// Owned by the loop.
	out   []byte
	in    [feedLen + 1]byte
	cpu   cpuBudget
	size  int64
	final bool
	heard bool   // since the last picture
	free  uint64 // slots that the loop may use
	rules []newRule
}

// receiveJob waits for the job and maps the ring.
func (c *child) receiveJob() (*os.File, error) {
	b := make([]byte, maxJob)
	oob := make([]byte, unix.CmsgSpace(2*4))
	n, oobn, flags, _, err := unix.Recvmsg(ordersFD, b, oob, unix.MSG_CMSG_CLOEXEC)
	if err == nil && n == 0 {
		os.Exit(0) // the parent has no job for us
	}
	if err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || n < 2 || b[0] != protocol || b[1] != msgJob {
		return nil, errors.Join(errMessage, err)
	}
	if err := json.Unmarshal(b[2:n], &c.job); err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errMessage, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 2 {
		return nil, errors.Join(errMessage, err)
	}
	c.ring.slots, c.ring.slotSize = c.job.Slots, c.job.SlotSize
	if err := c.ring.mmap(fds[1], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		return nil, err
	}
	unix.Close(fds[1])
	c.status = c.ring.status()
	c.slots = make(map[*media.Frame]int)
	for i := range c.job.Slots {
		f := media.NewFrame(func() {})
		f.Views = c.ring.pictures(i, c.job.Views)
		c.frames = append(c.frames, f)
		c.slots[f] = i
	}
	c.free = 1<<c.job.Slots - 1
	return os.NewFile(uintptr(fds[0]), "input"), nil
}

// hear takes in everything that the parent has said.
func (c *child) hear() {
	for c.receive(unix.MSG_DONTWAIT) {
	}
}

// receive takes in one thing that the parent says, and waits for it unless the flags
// say otherwise. When the parent is gone, so is this process.
func (c *child) receive(flags int) bool {
	n, _, _, _, err := unix.Recvmsg(ordersFD, c.in[:], nil, flags)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false
	case errors.Is(err, unix.EINTR):
		return true
	case err != nil || n == 0:
		os.Exit(0)
	}
	f, err := parseFeed(c.in[:n])
	if err != nil {
		os.Exit(2)
	}
	c.size, c.final = max(c.size, f.size), c.final || f.final
	c.free |= f.released
	if f.rule {
		c.rules = append(c.rules, newRule{f.id, f.sample})
	}
	return true
}

// Await implements media.Host.
func (c *child) Await(have int64) (int64, bool, error) {
	c.advanced()
	if c.size <= have && !c.final {
		c.status.have.Store(have)
		c.status.state.Store(uint32(awaitingInput))
		for c.size <= have && !c.final {
			c.receive(0)
		}
		c.working()
	}
	c.hear() // there may be more: what is old is left out
	c.heard = true
	return c.size, c.final, nil
}

// Slot implements media.Host.
func (c *child) Slot() (*media.Frame, error) {
	c.hear()
	if c.free == 0 {
		c.status.state.Store(uint32(awaitingSlot))
		for c.free == 0 {
			c.receive(0)
		}
	}
	c.working()
	for i, f := range c.frames {
		if c.free&(1<<i) != 0 {
			c.free &^= 1 << i
			return f, nil
		}
	}
	return nil, errMessage
}

func (c *child) working() {
	c.status.state.Store(uint32(working))
	c.advanced()
}

// advanced says that the loop got further.
func (c *child) advanced() {
	c.status.progress.Add(1)
	c.cpu.renew()
}

// Rule implements media.Host. What is said behind the loop's last Await is soon enough with
// the next picture: a system call for each is a hundredth of what a camera's costs. After
// the last Await there may be no next one.
func (c *child) Rule() (uint32, media.Sample, bool) {
	if !c.heard || c.final {
		c.hear()
	}
	c.heard = false
	if len(c.rules) == 0 {
		return 0, media.Sample{}, false
	}
	r := c.rules[0]
	c.rules = c.rules[1:]
	return r.id, r.rule, true
}

// Put implements media.Host.
func (c *child) Put(o media.Output, st media.DecodeStats) error {
	c.advanced()
	b := c.out[:0]
	switch {
	case o.Frame != nil:
		f := o.Frame
		b = (&frame{
			slot: c.slots[f], key: f.Key, width: f.Width, height: f.Height, aspect: f.Aspect,
			input: f.Input, decode: f.Decode, ready: monotonic(), stamp: f.Stamp, at: f.Checkpoint,
		}).append(b)
	case o.Rule != nil:
		b = appendRule(b, *o.Rule, st)
	default:
		var err error
		if b, err = appendJSON(b, msgNote, note{o.Stream, o.Waiting, st}); err != nil {
			return err
		}
	}
	c.out = b
	send(b)
	return nil
}

// Log implements media.Host. Lines that do not fit into the socket are dropped.
func (c *child) Log(line string) {
	b := append([]byte{protocol, msgLog}, line[:min(len(line), maxText)]...)
	_, _ = unix.SendmsgN(reportsFD, b, nil, nil, unix.MSG_DONTWAIT)
}

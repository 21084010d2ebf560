package worker

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"detections/media"
)

// pretend makes a frame of every 100 bytes of input, or of those after the checkpoint,
// and misbehaves on request.
func pretend(h media.Host, input *os.File, job media.Job) (st media.DecodeStats, err error) {
	c := h.(*child)
	n := int64(0)
	if r := job.Resume; r != nil {
		n, st = r.Index+1, r.Stats
	}
	for ; ; n++ {
		size, final, err := h.Await(100*(n+1) - 1)
		if err != nil || final && size < 100*(n+1) {
			return st, err
		}
		if n == 3 {
			if err := misbehave(c, job.Container); err != nil {
				return st, err
			}
		}
		if id, rule, ok := h.Rule(); ok {
			job.Sample = rule
			_ = h.Put(media.Output{Rule: &media.RuleChange{ID: id, From: n}}, st)
		}
		st.Decoded++
		if job.Sample.Every > 1 && n%int64(job.Sample.Every) != 0 {
			continue
		}
		f, _ := h.Slot()
		_, _ = input.ReadAt(f.Views[0].Pix, 100*n)
		st.Picked++
		f.FrameInfo = media.FrameInfo{Width: 4, Height: 4, Aspect: 2, Input: 100 * (n + 1), Checkpoint: checkpoint(n)}
		f.Checkpoint.Stats = st
		_ = h.Put(media.Output{Frame: f}, st)
	}
}

// hasLeft is the state of a process that left a child behind.
const hasLeft = 42

// checkpoint is that of frame n, if all before it were picked.
func checkpoint(n int64) media.Checkpoint {
	return media.Checkpoint{
		Index: n, PTS: time.Duration(n), KeyPTS: time.Duration(n), Stats: media.DecodeStats{Decoded: n + 1, Picked: n + 1},
		Key: n + 1, Packet: n + 1, Sent: n + 1, Pictures: n + 1,
	}
}

func misbehave(c *child, how string) error {
	if done, err := breakOut(how); done {
		return err
	}
	good := frame{slot: 3, width: 4, height: 4, input: 400, at: checkpoint(3)}
	lie := func(change func(*frame)) {
		f := good
		change(&f)
		send(f.append(nil))
		forever()
	}
	switch how {
	case "crash":
		b, _ := unix.Mmap(-1, 0, 4096, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
		b[0] = 1
	case "exit":
		os.Exit(7)
	case "killed":
		_ = unix.Tgkill(os.Getpid(), os.Getpid(), unix.SIGKILL)
	case "panic":
		panic("a bug in the loop")
	case "hang":
		forever()
	case "leaves a child": // which has the socket too
		_, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "60"}, &syscall.ProcAttr{Files: []uintptr{0, 1, 1, ordersFD}})
		if err != nil {
			return err
		}
		c.status.state.Store(hasLeft)
		forever()
	case "refuse":
		return &media.Error{Kind: media.ErrUnsupported, Message: "no\x00 thanks"}
	case "does not listen":
		for told := 0; told < 100; { // what was told stays unread
			ready := []unix.PollFd{{Fd: ordersFD, Events: unix.POLLIN}}
			if n, _ := unix.Poll(ready, -1); n == 1 {
				told++
			}
		}
		return &media.Error{Kind: media.ErrUnsupported, Message: "no, and I did not listen"}
	case "claims to wait":
		c.status.state.Store(uint32(awaitingInput))
		c.status.have.Store(50)
		forever()
	case "limits":
		return errors.New(limits())
	case "chatter":
		for range 1000 {
			c.Log(strings.Repeat("x", 10_000))
		}
	case "a held slot":
		lie(func(f *frame) { f.slot = 0 })
	case "a slot that is not there":
		lie(func(f *frame) { f.slot = 200 })
	case "a huge picture":
		lie(func(f *frame) { f.width, f.height = 1<<16, 1<<16 })
	case "no picture":
		lie(func(f *frame) { f.width = 0 })
	case "an old frame":
		lie(func(f *frame) { f.at.Index = 2 })
	case "a frame that was not decoded":
		lie(func(f *frame) { f.at.Index = 4 })
	case "a time out of this world":
		lie(func(f *frame) { f.at.PTS = -1 << 63 })
	case "input that was not given":
		lie(func(f *frame) { f.input = 1 << 40 })
	case "wrong counters":
		lie(func(f *frame) { f.at.Stats.Picked = 9 })
	case "counters that shrink":
		lie(func(f *frame) { f.at.Stats.Decoded = 3; f.at.Index = 2 })
	case "a key packet that goes back":
		lie(func(f *frame) { f.at.Key = 2 })
	case "a packet that was not read":
		lie(func(f *frame) { f.at.Packet = 5 })
	case "a reading that goes back":
		lie(func(f *frame) { f.at.Key, f.at.Packet, f.at.Sent = 3, 3, 2 })
	case "a negative number":
		lie(func(f *frame) { f.at.Nth = -1 })
	case "an endless delay":
		lie(func(f *frame) { f.at.Delay = 1 << 31 })
	case "an impossible rate":
		lie(func(f *frame) { f.at.Rate = math.NaN() })
	case "a rule that was not asked for":
		send(appendRule(nil, media.RuleChange{ID: 1, From: 3}, good.at.Stats))
		forever()
	case "another protocol":
		send([]byte{9, msgFrame})
		forever()
	case "an unknown message":
		send([]byte{protocol, 'Z'})
		forever()
	case "a message that is too long":
		send(make([]byte, maxMessage+1))
		forever()
	case "a torn frame":
		send(good.append(nil)[:40])
		forever()
	case "a wrong note":
		send([]byte{protocol, msgNote, '{', '}'})
		forever()
	case "an unknown end":
		send([]byte(string([]byte{protocol, msgEnd}) + `{"Kind":"surprise"}`))
		forever()
	}
	return nil
}

// limits are the limits that the process has.
func limits() string {
	var s []string
	for _, what := range []int{unix.RLIMIT_DATA, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_CORE} {
		var r unix.Rlimit
		_ = unix.Prlimit(0, what, nil, &r)
		s = append(s, strconv.FormatUint(r.Max, 10))
	}
	return fmt.Sprintf("%s env %d procs %d", strings.Join(s, " "), len(os.Environ()), runtime.GOMAXPROCS(0))
}

// forever is a loop that hangs. It has a timer: without cgo Go's runtime would find that
// nothing can happen any more, and end the process.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

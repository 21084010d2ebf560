package worker

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// onlyOne gives Go's runtime in a decoder process one processor, from its first moment on:
// with more, threads that look for work sleep for a moment, which by slack is a second, and
// whatever stops the others, such as the collector, waits for them.
const onlyOne = "GOMAXPROCS=1"

// process is a decoder process and its sockets. There are two, because a thread of the
// hub that waits for what comes of a socket is woken too whenever the other end has read
// what went into it.
type process struct {
	cmd     *exec.Cmd
	reports *net.UnixConn   // what it says
	orders  *os.File        // what it is told; never waits, and the runtime does not wait for it
	raw     syscall.RawConn // of orders
	last    tail            // of what it wrote to its standard error

	once sync.Once
	how  string // it ended, in words
}

// spawn starts a process, and tells it what it may use. It dies with the thread that
// calls this.
func (c *Config) spawn() (*process, error) {
	first, err := appendJSON(nil, msgSetup, setup{c.Sandbox, c.Memory, c.FrameCPU})
	if err != nil {
		return nil, err
	}
	orders, theirOrders, err := pair()
	if err != nil {
		return nil, err
	}
	defer theirOrders.Close()
	reports, theirReports, err := pair()
	if err != nil {
		orders.Close()
		return nil, err
	}
	defer theirReports.Close()
	p, err := newProcess(orders, reports)
	if err != nil {
		orders.Close()
		return nil, err
	}
	p.cmd = exec.Command(c.Path, c.Args...) //nolint:gosec // G204: this very binary, with an argument of ours
	p.cmd.Env = []string{onlyOne}           // nothing of ours is theirs to read
	p.cmd.Dir = "/"
	p.cmd.ExtraFiles = []*os.File{theirOrders, theirReports}
	p.cmd.Stderr = &p.last
	p.cmd.WaitDelay = time.Second // for a grandchild that holds standard error
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Not our group: an interrupt from the terminal is for the parent, which drains.
		Setpgid: true,
	}
	if err := p.cmd.Start(); err != nil {
		p.close()
		return nil, err
	}
	_ = p.tell(first) // into the socket's buffer; if the process has died already, whoever takes it sees that
	return p, nil
}

// newProcess takes our ends of the sockets. Each serves one way only.
func newProcess(orders, reports *os.File) (*process, error) {
	defer reports.Close() // conn is a duplicate
	raw, err := orders.SyscallConn()
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(reports)
	if err != nil {
		return nil, err
	}
	p := &process{reports: conn.(*net.UnixConn), orders: orders, raw: raw}
	err = errors.Join(p.reports.CloseWrite(), p.control(func(fd int) error {
		return errors.Join(unix.SetNonblock(fd, true), unix.Shutdown(fd, unix.SHUT_RD))
	}))
	if err != nil {
		p.reports.Close()
		return nil, err
	}
	return p, nil
}

// pair makes two ends of a socket that keeps messages apart.
func pair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "decoder"), os.NewFile(uintptr(fds[1]), "decoder"), nil
}

func (p *process) close() {
	p.reports.Close()
	p.orders.Close()
}

// control does something to the socket of orders.
func (p *process) control(f func(fd int) error) error {
	var err error
	closed := p.raw.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(closed, err)
}

// tell says something to the process. If it does not read the error is EAGAIN.
func (p *process) tell(b []byte) error {
	_, err := p.orders.Write(b)
	return err
}

// awaitRoom waits until the process has read something, or is gone.
func (p *process) awaitRoom() {
	_ = p.control(func(fd int) error {
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1) //nolint:gosec // G115: a descriptor
			if err != unix.EINTR {
				return err
			}
		}
	})
}

// give gives the process its job. The files are duplicated by it.
func (p *process) give(b []byte, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return p.control(func(fd int) error {
		return unix.Sendmsg(fd, b, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	})
}

// kill ends the process, waits for it, and says how it ended: of itself, if it had
// ended before.
func (p *process) kill() string {
	p.once.Do(func() {
		p.cmd.Process.Kill() // before it sees that nobody is there, and ends of itself
		// Whoever waits for room waits no more, even if a child of it has the socket too.
		_ = p.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RDWR) })
		p.close()
		err := p.cmd.Wait()
		p.how = "ended"
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			p.how = describe(exit.Sys().(syscall.WaitStatus))
		}
	})
	return p.how
}

// outOfTime is how a process ends whose cpuBudget is used up.
const outOfTime = "was killed by SIGXCPU"

func describe(ws syscall.WaitStatus) string {
	if ws.Signaled() {
		return "was killed by " + unix.SignalName(ws.Signal())
	}
	return fmt.Sprintf("exited with status %d", ws.ExitStatus())
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

const tailLen = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[max(0, len(p)-tailLen):]...)
	t.b = t.b[max(0, len(t.b)-tailLen):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return clean(string(t.b), tailLen)
}

// clean makes a text of the process fit for logs and clients.
func clean(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}

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

// process is a decoder process and its socket.
type process struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
	last tail // of what it wrote to its standard error

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
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "decoder")
	defer theirs.Close()
	_ = unix.SetNonblock(pair[0], true)
	ours := os.NewFile(uintptr(pair[0]), "decoder")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	p := &process{conn: conn.(*net.UnixConn)}
	p.cmd = exec.Command(c.Path, c.Args...) //nolint:gosec // G204: this very binary, with an argument of ours
	p.cmd.Env = []string{onlyOne}           // nothing of ours is theirs to read
	p.cmd.Dir = "/"
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.Stderr = &p.last
	p.cmd.WaitDelay = time.Second // for a grandchild that holds standard error
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		// Not our group: an interrupt from the terminal is for the parent, which drains.
		Setpgid: true,
	}
	if err := p.cmd.Start(); err != nil {
		p.conn.Close()
		return nil, err
	}
	_, _ = p.conn.Write(first) // into the socket's buffer; if the process has died already, whoever takes it sees that
	return p, nil
}

// send gives the process its job. The files are duplicated by it.
func (p *process) send(b []byte, files ...*os.File) error {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	n, _, err := p.conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		err = errMessage
	}
	return err
}

// kill ends the process, waits for it, and says how it ended: of itself, if it had
// ended before.
func (p *process) kill() string {
	p.once.Do(func() {
		p.conn.Close()
		p.cmd.Process.Kill()
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

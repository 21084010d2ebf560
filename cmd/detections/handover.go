package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A process that serves can be taken over by another one on the same data directory,
// so that no connection is refused in between: the successor asks on a socket in the
// data directory for the listener's descriptor, gets ready while its predecessor goes
// on, tells it to leave, and waits for the data directory. Connections that arrive
// meanwhile wait in the listener's queue, which both have.
//
//	successor → predecessor   connects
//	predecessor → successor   greeting, with the listener
//	successor → predecessor   goNow, once it is ready
//	                          the connection ends with the predecessor
//
// The socket is as private as the data directory, which belongs to one user.

// greeting is who hands over.
type greeting struct {
	PID     int    `json:"pid"`
	Version string `json:"version"`
}

const (
	goNow        = "go"
	greetingSize = 1 << 10
	// handoverTime is how long one message of a handover may take.
	handoverTime = 5 * time.Second
)

// errTakenOver is why a process leaves that was taken over.
var errTakenOver = errors.New("another process takes over")

// handoverSocket gives the address of a data directory's socket and a function that
// lets go of it. A socket's path has at most 108 bytes, a directory's has more, so
// the directory is named by its descriptor.
func handoverSocket(dir string) (*net.UnixAddr, func(), error) {
	d, err := os.Open(dir) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, nil, fmt.Errorf("handover: %w", err)
	}
	name := fmt.Sprintf("/proc/self/fd/%d/handover.sock", d.Fd())
	return &net.UnixAddr{Net: "unixpacket", Name: name}, func() { _ = d.Close() }, nil // it was only read
}

// handover offers a listener to a successor.
type handover struct {
	socket *net.UnixListener
	own    *net.TCPListener
	log    *slog.Logger
	taken  context.CancelCauseFunc
	done   chan struct{}

	mu      sync.Mutex
	stopped bool          // guarded by mu
	talking *net.UnixConn // guarded by mu: with a successor that gets ready; may be nil
}

// offerHandover answers successors until closed; taken is called with errTakenOver
// when one is ready. The data directory must be ours.
func offerHandover(dir string, own *net.TCPListener, taken context.CancelCauseFunc, log *slog.Logger) (*handover, error) {
	addr, release, err := handoverSocket(dir)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := os.Remove(filepath.Join(dir, "handover.sock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("handover: %w", err)
	}
	socket, err := net.ListenUnix(addr.Net, addr)
	if err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	socket.SetUnlinkOnClose(false) // a successor may have its own there by then
	h := &handover{socket: socket, own: own, log: log, taken: taken, done: make(chan struct{})}
	go h.serve()
	return h, nil
}

// serve talks to one successor after the other, until one takes over.
func (h *handover) serve() {
	defer close(h.done)
	for {
		c, err := h.socket.AcceptUnix()
		if err != nil || !h.begin(c) {
			return
		}
		switch err = h.talk(c); {
		case err == nil:
			h.taken(errTakenOver)
			return // the connection stays open until the process leaves
		case h.isStopped():
			return // it leaves anyway, and the successor sees that
		}
		_ = c.Close() // what is wrong is in err
		h.log.Warn("a handover did not come about", "err", err)
	}
}

func (h *handover) begin(c *net.UnixConn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.talking = c
	if h.stopped {
		_ = c.Close() // nothing was said
	}
	return !h.stopped
}

func (h *handover) isStopped() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopped
}

func (h *handover) talk(c *net.UnixConn) error {
	file, err := h.own.File()
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // a copy of a descriptor
	text, err := json.Marshal(greeting{PID: os.Getpid(), Version: version})
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(handoverTime)); err != nil {
		return err
	}
	if _, _, err := c.WriteMsgUnix(text, unix.UnixRights(int(file.Fd())), nil); err != nil {
		return err
	}
	h.log.Info("another process gets ready to take over")
	reply := make([]byte, len(goNow)+1)
	n, err := c.Read(reply) // it takes as long as its engines take
	switch {
	case err != nil:
		return fmt.Errorf("the successor is gone: %w", err)
	case string(reply[:n]) != goNow:
		return fmt.Errorf("the successor says %q", reply[:n])
	}
	return nil
}

// stop takes no more successors. One that still gets ready finds the data directory
// free when it is.
func (h *handover) stop() {
	h.mu.Lock()
	h.stopped = true
	if h.talking != nil {
		_ = h.talking.Close() // that it ends is what it says
	}
	h.mu.Unlock()
	_ = h.socket.Close() // nothing is written to it
	<-h.done
}

// predecessor is the process to take over from.
type predecessor struct {
	greeting
	conn *net.UnixConn
}

// meetPredecessor asks the process that has the data directory for its listener.
// Without such a process both are nil.
func meetPredecessor(dir string) (*predecessor, net.Listener, error) {
	addr, release, err := handoverSocket(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer release()
	c, err := net.DialUnix(addr.Net, nil, addr)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
		return nil, nil, nil // nobody is there
	}
	if err != nil {
		return nil, nil, fmt.Errorf("handover: %w", err)
	}
	p := &predecessor{conn: c}
	l, err := p.listener()
	if err != nil {
		return nil, nil, fmt.Errorf("handover: %w", errors.Join(err, c.Close()))
	}
	return p, l, nil
}

// listener receives the greeting and the listener.
func (p *predecessor) listener() (net.Listener, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(handoverTime)); err != nil {
		return nil, err
	}
	text, control := make([]byte, greetingSize), make([]byte, unix.CmsgSpace(4))
	n, cn, _, _, err := p.conn.ReadMsgUnix(text, control)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("the running process sent no listener (%d messages, %w)", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("the running process sent %d descriptors, %w", len(fds), err)
	}
	file := os.NewFile(uintptr(fds[0]), "listener")
	defer file.Close() //nolint:errcheck // the listener has its own
	if err := json.Unmarshal(text[:n], &p.greeting); err != nil {
		return nil, err
	}
	return net.FileListener(file)
}

// leave tells it to go, unless it has gone by itself. Its data directory is free a
// moment later.
func (p *predecessor) leave() error {
	_, err := p.conn.Write([]byte(goNow))
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("handover: %w", err)
	}
	return nil
}

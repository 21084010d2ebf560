package rtc

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Bounds of TCP connections for media: anybody can open one, and say nothing for as long as
// a handshake may take.
const (
	maxConns   = 1024 // at most a quarter of the descriptors that the process may have
	perAddress = 256  // of them, from one address (IPv6: one /64); not from this machine
)

// gate is the listener for media over TCP. It bounds connections, and goes on after errors:
// the library gives a listener up at the first one, and the process may be out of
// descriptors only for a moment.
type gate struct {
	net.Listener
	log              *slog.Logger
	most, perAddress int
	quit             chan struct{} // closed by Close

	mu     sync.Mutex
	n      int                  // guarded by mu: connections
	from   map[netip.Prefix]int // guarded by mu: the same by network
	closed bool                 // guarded by mu
}

func newGate(l net.Listener, log *slog.Logger) *gate {
	g := &gate{Listener: l, log: log, most: maxConns, perAddress: perAddress, quit: make(chan struct{}), from: map[netip.Prefix]int{}}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil && files.Cur/4 < maxConns {
		g.most = int(files.Cur / 4) //nolint:gosec // G115: less than maxConns
	}
	return g
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for pause := time.Duration(0); ; {
		c, err := g.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			if pause == 0 {
				g.log.Error("connections for media over TCP wait", "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			g.sleep(pause)
			continue
		}
		pause = 0
		if in := g.enter(c); in != nil {
			return in, nil
		}
		_ = c.Close()
	}
}

func (g *gate) sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-g.quit:
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.quit)
	}
	g.mu.Unlock()
	return g.Listener.Close()
}

// enter counts a connection in; nil: there are too many.
func (g *gate) enter(c net.Conn) net.Conn {
	network := networkOf(c.RemoteAddr())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n >= g.most || !network.Addr().IsLoopback() && g.from[network] >= g.perAddress {
		return nil
	}
	g.n++
	g.from[network]++
	return &gated{Conn: c, leave: sync.OnceFunc(func() { g.leave(network) })}
}

func (g *gate) leave(network netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n--
	if g.from[network]--; g.from[network] == 0 {
		delete(g.from, network)
	}
}

// networkOf is what counts as one address: of IPv6 everybody has 2⁶⁴.
func networkOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() && !ip.IsLoopback() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}

type gated struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *gated) Close() error {
	c.leave()
	return c.Conn.Close()
}

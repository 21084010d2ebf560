package web

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"detections/session/wire"
)

// Limits bound connections and bodies. Zero fields take the defaults, negative numbers
// of connections mean any number.
type Limits struct {
	Conns        int // open at once; at most half of the descriptors that the process may have
	PerAddress   int // of them, from one address (IPv6: one /64); not from this machine or Proxies
	PerPrincipal int // requests and WebSockets of one principal at once, if there is authentication
	// UploadRate is how many bytes per second an upload must bring, on average over
	// Window of waiting for it; default 1 KiB.
	UploadRate int64
	Window     time.Duration // default 30 s
	Body       time.Duration // for a body that is no upload; default 30 s
	Write      time.Duration // for a piece of an answer; default 10 s
	// Proxies are addresses whose X-Forwarded-For is believed.
	Proxies []netip.Prefix
}

// DefaultLimits are in force where nothing else is configured.
var DefaultLimits = Limits{Conns: 10_000, PerAddress: 1000, PerPrincipal: 1000, UploadRate: 1 << 10, Window: 30 * time.Second, Body: 30 * time.Second, Write: 10 * time.Second}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	l.Conns, l.PerAddress, l.PerPrincipal = most(l.Conns, d.Conns), most(l.PerAddress, d.PerAddress), most(l.PerPrincipal, d.PerPrincipal)
	l.UploadRate, l.Window = cmp.Or(l.UploadRate, d.UploadRate), cmp.Or(l.Window, d.Window)
	l.Body, l.Write = cmp.Or(l.Body, d.Body), cmp.Or(l.Write, d.Write)
	return l
}

// gate counts connections, and keeps out those that are too many: they are accepted and
// closed at once, so that they do not fill the queue of those that are not.
type gate struct {
	limits    Limits
	conns     atomic.Int64
	addresses counter
	refused   atomic.Int64
	strangers atomic.Int64 // requests without a valid token
	shortAt   atomic.Int64 // Unix time in ns at which descriptors ran out; 0: never
	log       *slog.Logger
}

func newGate(l Limits, log *slog.Logger) *gate {
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur/2 < uint64(l.Conns) {
		l.Conns = int(files.Cur / 2)
	}
	g := &gate{limits: l, log: log}
	g.addresses.most = l.PerAddress
	return g
}

// most is a limit or its default; any number is more than there can be.
func most(n, def int) int {
	switch {
	case n < 0:
		return 1 << 30
	case n == 0:
		return def
	}
	return n
}

// Gate limits the connections that a listener accepts.
func (s *Server) Gate(l net.Listener) net.Listener { return &gatedListener{l, s.gate} }

type gatedListener struct {
	net.Listener
	*gate
}

// tooMany is what HTTP clients that are kept out are told; it is as good as nothing to
// those that speak TLS.
const tooMany = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: " + retryAfter + "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// Accept implements net.Listener. When descriptors run out it fails, and net/http tries
// again after a growing pause.
func (l *gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.failed(err)
			return nil, err
		}
		if g := l.enter(c); g != nil {
			return g, nil
		}
		l.refused.Add(1)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // a new connection takes it at once
		_, _ = c.Write([]byte(tooMany))                     // it is closed in any case
		_ = c.Close()
	}
}

func (g *gate) failed(err error) {
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return
	}
	if before := g.shortAt.Swap(time.Now().UnixNano()); time.Since(time.Unix(0, before)) > shortFor {
		g.log.Error("the process has no file descriptors left; connections wait", "err", err)
	}
}

// shortFor is how long a hub that ran out of descriptors is not ready.
const shortFor = 5 * time.Second

// enter counts a connection in; nil: there are too many.
func (g *gate) enter(c net.Conn) *gatedConn {
	address := ""
	if a := addressOf(c.RemoteAddr().String()); !a.IsLoopback() && !g.trusts(a) {
		address = networkOf(a)
	}
	if n := g.conns.Add(1); n > int64(g.limits.Conns) || !g.addresses.enter(address) {
		g.conns.Add(-1)
		return nil
	}
	return &gatedConn{Conn: c, leave: sync.OnceFunc(func() {
		g.conns.Add(-1)
		g.addresses.leave(address)
	})}
}

// notReady says why no more connections should be sent here.
func (g *gate) notReady() (why []string) {
	if at := g.shortAt.Load(); at != 0 && time.Since(time.Unix(0, at)) < shortFor {
		why = append(why, "there are no file descriptors left")
	}
	if g.conns.Load() >= int64(g.limits.Conns) {
		why = append(why, "the limit of connections is reached")
	}
	return why
}

// watchGate counts connections and strangers.
func (m *Metrics) watchGate(g *gate) {
	count := func(name, help string, n *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(n.Load()) })
	}
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "detections_connections", Help: "Open connections."}, func() float64 { return float64(g.conns.Load()) }),
		count("detections_connections_refused_total", "Connections that were closed at once, because there were too many.", &g.refused),
		count("detections_unauthorized_total", "Requests without a valid token, where one is required.", &g.strangers),
	)
}

type gatedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *gatedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// addressOf is the address in a text with or without a port; the zero one: none.
func addressOf(text string) netip.Addr {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// networkOf is what counts as one address: of IPv6 everybody has 2⁶⁴.
func networkOf(a netip.Addr) string {
	if a.Is6() {
		p, err := a.Prefix(64)
		if err == nil {
			return p.String()
		}
	}
	return a.String()
}

func (g *gate) trusts(a netip.Addr) bool {
	for _, p := range g.limits.Proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// client is where a request comes from: the last address of X-Forwarded-For that is no
// trusted proxy's, if a trusted proxy sends it. What is before that, anybody may write.
func (g *gate) client(r *http.Request) netip.Addr {
	peer := addressOf(r.RemoteAddr)
	if !g.trusts(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a := addressOf(strings.TrimSpace(hops[i]))
		if !a.IsValid() {
			break
		}
		if peer = a; !g.trusts(a) {
			break
		}
	}
	return peer
}

// pass counts in a request that a proxy sends for an address; its connections are the
// proxy's.
func (g *gate) pass(r *http.Request) (leave func(), err error) {
	if !g.trusts(addressOf(r.RemoteAddr)) {
		return func() {}, nil
	}
	address := networkOf(g.client(r))
	if !g.addresses.enter(address) {
		return nil, wire.Errorf(wire.Quota, "there are %d requests and connections from your address, which is the limit", g.addresses.most)
	}
	return func() { g.addresses.leave(address) }, nil
}

// counter counts by name up to a limit. The empty name is not counted.
type counter struct {
	most int
	mu   sync.Mutex
	n    map[string]int // guarded by mu
}

func (c *counter) enter(name string) bool {
	if name == "" {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	if c.n[name] >= c.most {
		return false
	}
	c.n[name]++
	return true
}

func (c *counter) leave(name string) {
	if name == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n[name]--; c.n[name] <= 0 {
		delete(c.n, name)
	}
}

package rtctest

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// Lossy is a UDP socket that loses packets, both ways, each with the same chance. What is
// lost depends on nothing but the seed and the order of the packets.
type Lossy struct {
	net.PacketConn
	// Lose, if set, loses more: packets on their way out for which it says so.
	Lose func(b []byte) bool

	mu     sync.Mutex
	chance float64
	rng    *rand.Rand
	lost   int
	passed int
}

// NewLossy opens a socket on loopback.
func NewLossy(chance float64, seed uint64) (*Lossy, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	return &Lossy{PacketConn: c, chance: chance, rng: rand.New(rand.NewPCG(seed, 0))}, nil //nolint:gosec // G404: a test
}

// Use lets a client have this socket and no other.
func (l *Lossy) Use(e *webrtc.SettingEngine) {
	e.SetIncludeLoopbackCandidate(true)
	e.SetDTLSRetransmissionInterval(100 * time.Millisecond) // like browsers
	e.SetSCTPRTOMax(time.Second)
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	e.SetICEUDPMux(webrtc.NewICEUDPMux(quiet().NewLogger(""), l))
}

// quiet keeps the library's words off the output of tests.
func quiet() *logging.DefaultLoggerFactory {
	return &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, ScopeLevels: map[string]logging.LogLevel{}}
}

func (l *Lossy) loses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rng.Float64() < l.chance {
		l.lost++
		return true
	}
	l.passed++
	return false
}

// Lost is how many packets were lost, of how many.
func (l *Lossy) Lost() (lost, of int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.lost + l.passed
}

// WriteTo implements net.PacketConn.
func (l *Lossy) WriteTo(b []byte, to net.Addr) (int, error) {
	if l.Lose != nil && l.Lose(b) || l.loses() {
		return len(b), nil
	}
	return l.PacketConn.WriteTo(b, to)
}

// ReadFrom implements net.PacketConn.
func (l *Lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(b)
		if err != nil || !l.loses() {
			return n, from, err
		}
	}
}

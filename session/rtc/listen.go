package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// readBuffer is the kernel's for a UDP socket, in bytes: key frames of many senders.
const readBuffer = 2 << 20

// listen opens one UDP socket for each address, and one TCP socket of the same number.
// If any number will do, one that is free for UDP may be taken for TCP.
func (s *Server) listen() error {
	addr, err := net.ResolveUDPAddr("udp", s.cfg.Listen)
	if err != nil {
		return err
	}
	for range 10 {
		s.engine = webrtc.SettingEngine{}
		if err = s.listenAt(addr); err == nil || addr.Port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return err
}

func (s *Server) listenAt(addr *net.UDPAddr) (err error) {
	everywhere := addr.IP == nil || addr.IP.IsUnspecified()
	e := &s.engine
	e.LoggerFactory = s.logs
	e.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	e.SetICETimeouts(min(5*time.Second, s.cfg.Lost/2), s.cfg.Lost-min(5*time.Second, s.cfg.Lost/2), 2*time.Second)
	e.SetFireOnTrackBeforeFirstRTP(true)
	e.SetDTLSRetransmissionInterval(100 * time.Millisecond) // what browsers begin with; the library's second costs several on a bad line
	e.SetSCTPRTOMax(time.Second)
	e.SetIncludeLoopbackCandidate(!everywhere && addr.IP.IsLoopback())
	networks := []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6}
	if everywhere {
		e.SetInterfaceFilter(s.wanted)
		s.udp, err = ice.NewMultiUDPMuxFromPort(addr.Port, ice.UDPMuxFromPortWithInterfaceFilter(s.wanted), ice.UDPMuxFromPortWithReadBufferSize(readBuffer))
		s.addr = addr
	} else {
		e.SetIPFilter(func(ip net.IP) bool { return ip.Equal(addr.IP) })
		err = s.listenUDP(addr)
	}
	if err != nil {
		return fmt.Errorf("media over UDP: %w", err)
	}
	bound, _ := s.addr.(*net.UDPAddr)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: bound.IP, Port: bound.Port, Zone: bound.Zone})
	if err != nil {
		return errors.Join(fmt.Errorf("media over TCP: %w", err), s.udp.Close())
	}
	s.tcp = ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener: newGate(l, s.log), Logger: s.logs.NewLogger("tcp"), ReadBufferSize: 64, WriteBufferSize: 1 << 20,
		FirstStunBindTimeout: s.cfg.Handshake, AliveDurationForConnFromStun: s.cfg.Handshake,
	})
	e.SetICEUDPMux(s.udp)
	e.SetICETCPMux(s.tcp)
	e.SetNetworkTypes(networks)
	if len(s.cfg.PublicIPs) > 0 {
		err = e.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{
			External: s.cfg.PublicIPs, AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteAppend,
		})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("public addresses: %w", err), s.tcp.Close(), s.udp.Close())
	}
	return nil
}

func (s *Server) listenUDP(addr *net.UDPAddr) error {
	conn, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	_ = conn.SetReadBuffer(readBuffer) // as much as the kernel grants
	s.udp, s.addr = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: s.logs.NewLogger("udp")}), conn.LocalAddr()
	return nil
}

// wanted says whether an interface is to be used.
func (s *Server) wanted(name string) bool {
	return len(s.cfg.Interfaces) == 0 || slices.Contains(s.cfg.Interfaces, name)
}

// loggers lets the library's log end in ours, at the level debug: what it warns of is
// what any client can send.
type loggers struct{ log *slog.Logger }

func (l loggers) NewLogger(scope string) logging.LeveledLogger {
	return logger{l.log.With("scope", scope)}
}

type logger struct{ log *slog.Logger }

func (l logger) Trace(string)                   {}
func (l logger) Tracef(string, ...any)          {}
func (l logger) Debug(string)                   {}
func (l logger) Debugf(string, ...any)          {}
func (l logger) Info(string)                    {}
func (l logger) Infof(string, ...any)           {}
func (l logger) Warn(msg string)                { l.tell("%s", msg) }
func (l logger) Warnf(format string, a ...any)  { l.tell(format, a...) }
func (l logger) Error(msg string)               { l.tell("%s", msg) }
func (l logger) Errorf(format string, a ...any) { l.tell(format, a...) }

func (l logger) tell(format string, a ...any) {
	l.log.Debug("webrtc", "err", strings.TrimSpace(fmt.Sprintf(format, a...)))
}

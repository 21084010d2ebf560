// Package rtc carries a live session over WebRTC: SDP and ICE as WHIP has them
// (RFC 9725), a video track in, a data channel back.
//
// A track's packets are put into order and its access units written to the session
// as they are: nothing that a client sent is parsed here beyond the headers of RTP.
// Decoding is up to the decoder process, like that of other media.
//
// A connection has the goroutines of the WebRTC library, one that reads the track, one
// that writes the data channel, and one that owns its life and waits for the others.
package rtc

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"detections/session"
	"detections/session/wire"
)

// Hub is what a connection needs of the hub.
type Hub interface {
	Start(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error)
	Rejoin(ctx context.Context, principal, id string, results wire.Results) (*session.Attachment, error)
}

// Config is what a Server is made of. Zero times take the defaults.
type Config struct {
	Hub Hub
	// Listen is where media comes in, over UDP and over TCP of the same number.
	Listen string
	// PublicIPs are addresses under which that can be reached from elsewhere.
	PublicIPs []string
	// Interfaces are those that are offered if Listen names no address; empty: all.
	Interfaces []string
	// ICEServers are told to clients.
	ICEServers []ICEServer
	// Handshake is how long ICE and DTLS may take; default 10 s.
	Handshake time.Duration
	// First is how long a session may last without a picture once it is connected; default 30 s.
	First time.Duration
	// Lost is how long a connection may be silent until it counts as lost; default 10 s.
	Lost time.Duration
	// Jitter is how long a missing packet is waited for; default 200 ms.
	Jitter time.Duration
	// Wait is how long another process may hold the port still; offers wait meanwhile.
	Wait time.Duration
	// Write bounds how long the data channel may make no progress; default 10 s.
	Write  time.Duration
	Logger *slog.Logger
}

// ICEServer is a STUN or TURN server.
type ICEServer struct {
	URL        string
	Username   string
	Credential string
}

// Server has all connections.
type Server struct {
	// Static after construction.
	cfg   Config
	log   *slog.Logger
	logs  logging.LoggerFactory
	quit  chan struct{} // closed by Close
	conns sync.WaitGroup

	// Static once opened is closed.
	opened chan struct{}
	failed error // why there is no port
	engine webrtc.SettingEngine
	udp    ice.UDPMux
	tcp    ice.TCPMux
	addr   net.Addr

	// Guarded by mu.
	mu        sync.Mutex
	closed    bool
	resources map[string]*conn // by the secret in their URL, unless they were deleted
	living    int              // connections, deleted or not
}

// New opens the sockets. Close the Server when the hub has drained.
func New(c Config) (*Server, error) {
	for d, def := range map[*time.Duration]time.Duration{
		&c.Handshake: 10 * time.Second, &c.First: 30 * time.Second, &c.Lost: 10 * time.Second, &c.Jitter: 200 * time.Millisecond, &c.Write: 10 * time.Second,
	} {
		if *d == 0 {
			*d = def
		}
	}
	s := &Server{cfg: c, log: c.Logger, quit: make(chan struct{}), opened: make(chan struct{}), resources: map[string]*conn{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.logs = loggers{s.log}
	err := s.listen()
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && c.Wait > 0:
		s.conns.Go(s.keepTrying)
	case err != nil:
		return nil, err
	default:
		close(s.opened)
	}
	return s, nil
}

// keepTrying opens the sockets as soon as another process gives the port up.
func (s *Server) keepTrying() {
	defer close(s.opened)
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for end := time.Now().Add(s.cfg.Wait); time.Now().Before(end); {
		select {
		case <-every.C:
		case <-s.quit:
			s.failed = errClosed
			return
		}
		if s.failed = s.listen(); !errors.Is(s.failed, syscall.EADDRINUSE) {
			break
		}
	}
	if s.failed != nil {
		s.log.Error("no media over WebRTC", "err", s.failed)
	}
}

var errClosed = errors.New("closed")

// Addr is where media comes in; nil: another process holds the port still.
func (s *Server) Addr() net.Addr {
	select {
	case <-s.opened:
		return s.addr
	default:
		return nil
	}
}

// ready waits until the port is open.
func (s *Server) ready(ctx context.Context) error {
	select {
	case <-s.opened:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.failed != nil {
		return wire.Errorf(wire.NotOffered, "this hub takes no WebRTC: another program has its media port; see --rtc-listen")
	}
	return nil
}

// ICEServers are to be told to clients.
func (s *Server) ICEServers() []ICEServer { return s.cfg.ICEServers }

// Close ends all connections, and the sockets. Sessions go on without them.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	s.conns.Wait()
	if s.failed != nil {
		return nil
	}
	return errors.Join(s.tcp.Close(), s.udp.Close())
}

// Answer is what a POST is answered with.
type Answer struct {
	SDP      string
	Resource string // the secret in the resource's URL
	ETag     string
	Session  string
}

// Offer is what a POST asks for.
type Offer struct {
	SDP   string
	Start wire.Start
	// Session rejoins this one; empty: a new one begins.
	Session string
	// May says why the client may not change its session (any more); nil: it may.
	May func() error
}

// Offer begins a connection.
func (s *Server) Offer(ctx context.Context, principal string, o Offer) (*Answer, error) {
	parsed, err := parseOffer(o.SDP)
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	c := &conn{
		s: s, id: rand.Text(), principal: principal, may: o.May, offer: parsed, log: s.log,
		track: make(chan *webrtc.TrackRemote, 1), channel: make(chan *teller, 1),
		state: make(chan webrtc.PeerConnectionState, 16), deleted: make(chan struct{}), failing: make(chan *wire.Error, 1), failed: make(chan struct{}), done: make(chan struct{}), gone: make(chan struct{}), ended: make(chan struct{}),
	}
	answer, err := c.negotiate()
	if err != nil {
		return nil, err
	}
	if o.Session != "" {
		c.attached, err = s.cfg.Hub.Rejoin(ctx, principal, o.Session, o.Start.Results)
	} else {
		c.fresh = true
		c.attached, err = s.cfg.Hub.Start(ctx, principal, o.Start)
	}
	if err != nil {
		return nil, errors.Join(err, c.pc.GracefulClose())
	}
	c.log = s.log.With("session", c.attached.Session.ID())
	c.results.set(o.Start.Results)
	if !s.add(c) {
		c.letGo()
		return nil, errors.Join(wire.Errorf(wire.Draining, "the hub is shutting down; come back in a moment"), c.pc.GracefulClose())
	}
	return &Answer{SDP: answer, Resource: c.id, ETag: c.etag, Session: c.attached.Session.ID()}, nil
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.resources[c.id] = c
	s.living++
	s.conns.Go(c.live)
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.resources, c.id)
}

func (s *Server) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.living--
}

// find is the resource of a principal.
func (s *Server) find(principal, resource string) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.resources[resource]; c != nil && c.principal == principal {
		return c, nil
	}
	return nil, unknown()
}

func unknown() error {
	return wire.Errorf(wire.UnknownSession, "there is no such WHIP session (any more); POST an offer to begin one")
}

// Connections is how many there are. One that was deleted lives on until its client was
// told the end.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.living
}

// Delete ends a connection and, once what has come is decoded, its session.
func (s *Server) Delete(principal, resource string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.resources[resource]
	if c == nil || c.principal != principal {
		return unknown()
	}
	delete(s.resources, resource)
	close(c.deleted) // whoever took it out of the map is the only one
	return nil
}

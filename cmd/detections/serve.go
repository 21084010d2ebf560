package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/spf13/cobra"

	"detections/hub"
)

func newServe() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the hub",
		Long: `Run the hub. It needs no configuration: the model is part of the program.

Every setting can be given as a flag, as an environment variable (--max-sessions
is DETECTIONS_MAX_SESSIONS) or in the file named by --config; flags win over the
environment, the environment over the file.

SIGTERM or SIGINT suspends running sessions: what is in flight is finished and
recorded, clients are asked to come back, and the next start on the same data
directory goes on where they were. With --takeover the next process gets ready first,
receives the listener from the running one, and takes over: no connection is refused.
Under socket activation (LISTEN_FDS) the listener is the one that was passed. A second
signal ends the program at once; what was acknowledged is kept then too.`,
		Args: noArgs,
	}
	flags := s.flags()
	cmd.Flags().SortFlags = false
	cmd.Flags().AddFlagSet(flags)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(complete(flags, os.Getenv), s.validate()); err != nil {
			return &usageError{err}
		}
		log := newLogger(os.Stderr, s.logLevel, s.logForm)
		slog.SetDefault(log)
		return serve(cmd.Context(), &s, log)
	}
	return cmd
}

// serve builds the parts, runs them until a signal or a successor, and takes them
// apart in the opposite order: doors, sessions, the data directory, decoders, engines.
func serve(ctx context.Context, s *settings, log *slog.Logger) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	shareCores()
	syscall.Umask(0o077) // what is in the data directory is nobody else's
	// Memory that is never touched, and so is none: the collector runs when the heap has
	// doubled, and ours is so small that a few cameras would have it run every second.
	ballast := make([]byte, 32<<20)
	defer runtime.KeepAlive(ballast)
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	listener, before, err := listen(s)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // closed already, unless the start fails
	known, err := s.access.authenticator(listener.Addr(), log)
	if err != nil {
		return err
	}
	p := build(s, log)
	p.auth, p.reachable = known, !isLoopback(listener.Addr())
	defer closing(&err, p.close)
	defer leave(nil) // the engines may still be loading
	p.load(ctx)
	if err := p.guarded(ctx, log); err != nil {
		return err
	}
	wait, err := p.succeed(ctx, before, log)
	if err != nil {
		return err
	}
	if err := p.open(s, onDisk(s, p.metrics.ObserveSync, log), wait, log); err != nil {
		return err
	}
	d := &doors{listener: listener, served: make(chan error, 1)}
	if err := d.open(s, p, log); err != nil {
		return err
	}
	next, err := offerHandover(s.data, listener, leave, log)
	if err != nil {
		return err
	}
	defer next.stop()
	url := d.url() // before the server sets itself up for HTTP/2, which needs TLS
	go func() { d.served <- s.fence.serve(d.server, p.face.Gate(listener)) }()
	s.access.warn(listener.Addr(), log)
	log.Info("serving", "url", url, "data", s.data, "version", version)
	watched := supervise(func() { p.hub.Stats() }, log)
	defer watched.end()
	select {
	case err := <-d.served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	watched.stopping()
	stop() // a second signal ends the program at once
	log.Info("stopping", "why", context.Cause(ctx).Error(), "sessions", p.hub.Running())
	if errors.Is(context.Cause(ctx), errTakenOver) {
		s.drainDelay = 0 // the successor is there
	}
	return d.drain(s, p, log)
}

// listen gives the listener: that of the process to take over from, the one that was
// passed by socket activation, or a new one.
func listen(s *settings) (*net.TCPListener, *predecessor, error) {
	var before *predecessor
	var l net.Listener
	var err error
	if s.takeover {
		if before, l, err = meetPredecessor(s.data); err != nil {
			return nil, nil, err
		}
	}
	if l == nil {
		l, err = ownListener(s.listen)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, nil, fmt.Errorf("listen: %s is not a TCP socket", l.Addr())
	}
	return tcp, before, nil
}

func ownListener(address string) (net.Listener, error) {
	passed, err := activation.Listeners()
	switch {
	case err != nil:
		return nil, err
	case len(passed) == 1 && passed[0] != nil:
		return passed[0], nil
	case len(passed) > 0:
		return nil, fmt.Errorf("%d sockets were passed by socket activation; one stream socket is expected", len(passed))
	}
	return net.Listen("tcp", address)
}

// leaving is how long a predecessor may take to free the data directory.
const leaving = time.Minute

// succeed gets ready before the predecessor is told to leave, and says how long its
// data directory is to be waited for.
func (p *parts) succeed(ctx context.Context, before *predecessor, log *slog.Logger) (time.Duration, error) {
	if before == nil {
		return 0, nil
	}
	log.Info("getting ready to take over", "pid", before.PID, "version", before.Version)
	select {
	case <-p.deployer.settled:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if st := p.ai.Status(); st.Availability != hub.Enabled && st.Availability != hub.None {
		return 0, fmt.Errorf("process %d is not taken over from, because there is no engine: %s", before.PID, st.Reason)
	}
	return leaving, before.leave()
}

// disguise is what the program's face is behind: nothing, but in builds that the tests of
// the deployment break.
var disguise = func(face http.Handler) http.Handler { return face }

// newServer sets the limits that net/http leaves open.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 100, SendPingTimeout: 20 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: 10 * time.Second},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// doors are what lets clients in.
type doors struct {
	listener net.Listener
	server   *http.Server
	secure   bool         // by TLS; a server that runs makes itself a TLSConfig in any case
	admin    *http.Server // nil: there is none
	served   chan error   // receives when no connection is accepted any more
}

// open makes the servers; that for operators serves at once.
func (d *doors) open(s *settings, p *parts, log *slog.Logger) (err error) {
	d.server = newServer(disguise(p.face), log)
	if d.server.TLSConfig, err = s.fence.tls(log); err != nil {
		return err
	}
	d.secure = d.server.TLSConfig != nil
	d.admin, err = s.fence.listenAdmin(p.metrics, log)
	return err
}

// url is where the hub is. It is asked before the server serves, which gives itself a
// TLSConfig then.
func (d *doors) url() string {
	if d.secure {
		return "https://" + d.listener.Addr().String()
	}
	return "http://" + d.listener.Addr().String()
}

const (
	// idle is how long connections stay open between two requests after the listener
	// was closed: who uses them learns by an answer that the next request needs another
	// one, instead of by a reset.
	idle = 250 * time.Millisecond
	// lastWords is how long clients may take to read what they were sent.
	lastWords = 3 * time.Second
)

// drain suspends running sessions and gives the data directory up as soon as they are
// at rest; clients may still read their last words then.
func (d *doors) drain(s *settings, p *parts, log *slog.Logger) error {
	begun := time.Now()
	p.hub.BeginDrain() // not ready
	time.Sleep(s.drainDelay)
	err := d.listener.Close()                          // who comes from now on waits for the next process
	if e := <-d.served; !errors.Is(e, net.ErrClosed) { // whoever was accepted is known to the server
		err = errors.Join(err, e)
	}
	idle := time.After(idle)
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTimeout)
	defer cancel()
	left := p.hub.Drain(ctx)
	media := make(chan error, 1)
	go func() { media <- p.closeRTC() }() // its clients are told meanwhile
	err = errors.Join(err, p.hub.Close())
	log.Info("the data directory is free", "sessions", left, "dur", time.Since(begun).Round(time.Millisecond))
	<-idle
	ctx, cancel = context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		err = errors.Join(err, d.server.Close()) // who does not read does not matter
	}
	p.face.Wait()
	if d.admin != nil {
		err = errors.Join(err, d.admin.Close())
	}
	err = errors.Join(err, <-media)
	if left.Stuck > 0 {
		err = errors.Join(err, fmt.Errorf("%d sessions did not come to rest within %v; what they had not recorded is done again", left.Stuck, s.drainTimeout))
	}
	log.Info("stopped", "dur", time.Since(begun).Round(time.Millisecond))
	return err
}

// closing runs a close function on the way out and keeps its error.
func closing(err *error, fn func() error) { *err = errors.Join(*err, fn()) }

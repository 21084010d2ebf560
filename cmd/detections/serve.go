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
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the hub",
		Long: `Run the hub. It needs no configuration: the model is part of the program.

Every setting can be given as a flag, as an environment variable (--max-sessions
is DETECTIONS_MAX_SESSIONS) or in the file named by --config; flags win over the
environment, the environment over the file. SIGTERM or SIGINT lets running
sessions finish for --drain-timeout; a second signal ends the program at once.`,
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

// serve builds the parts, runs them until a signal, and takes them apart in the
// opposite order: doors, sessions, decoders, engines, and the data directory last.
func serve(ctx context.Context, s *settings, log *slog.Logger) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	p, err := build(s, log)
	defer closing(&err, p.close)
	defer stop() // the engines may still be loading
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	server := newServer(p.face, log)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("serving", "url", "http://"+listener.Addr().String(), "data", s.data, "version", version)
	p.load(ctx)
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // a second signal ends the program at once
	log.Info("stopping", "why", context.Cause(ctx).Error(), "sessions", p.hub.Running())
	return drain(s, p, server, log)
}

// newServer sets the limits that net/http leaves open.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// drain suspends running sessions, within limits, and says what is left.
func drain(s *settings, p *parts, server *http.Server, log *slog.Logger) error {
	begun := time.Now()
	p.hub.BeginDrain() // readiness off, no new sessions
	time.Sleep(s.drainDelay)
	ctx, cancel := context.WithTimeout(context.Background(), s.drainTimeout)
	defer cancel()
	shut := make(chan error, 1)
	go func() {
		// It stops listening at once and waits for requests; sessions are suspended
		// below, and so end the requests that follow them.
		after, cancel := context.WithTimeout(context.Background(), s.drainTimeout+lastWords)
		defer cancel()
		shut <- server.Shutdown(after)
	}()
	left := p.hub.Drain(ctx)
	err := <-shut
	if err != nil {
		err = errors.Join(fmt.Errorf("stop serving: %w", err), server.Close())
	}
	p.face.Wait()
	log.Info("stopped", "sessions", left, "dur", time.Since(begun).Round(time.Millisecond))
	return err
}

// lastWords is how long clients may take to read the end of their sessions.
const lastWords = 3 * time.Second

// closing runs a close function on the way out and keeps its error.
func closing(err *error, fn func() error) { *err = errors.Join(*err, fn()) }

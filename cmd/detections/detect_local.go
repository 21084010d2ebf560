package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"detections/hub"
)

// localHub is a hub in this process that listens nowhere: its client reaches it
// through memory.
type localHub struct {
	*parts
	client *http.Client
	server *http.Server
	dir    string
	stop   context.CancelFunc
	served chan struct{}
}

// localDir is the folder of the local hub, for a program that ends at once.
var localDir struct {
	sync.Mutex
	path string
}

// removeLocal removes what the local hub has on disk.
func removeLocal() {
	localDir.Lock()
	defer localDir.Unlock()
	if localDir.path != "" {
		_ = os.RemoveAll(localDir.path) // the program ends, nobody could do anything
	}
}

// localSettings are those of serve from the environment, with another model unless it
// is empty.
func localSettings(model string) (*settings, error) {
	s := new(settings)
	err := complete(s.flags(), os.Getenv)
	if model != "" {
		s.model, s.from.url = model, "" // a file, whatever the hub here gets from a Loader
	}
	s.from.folder = filepath.Join(s.data, "models") // it outlives a temporary data directory
	if err := errors.Join(err, s.validate()); err != nil {
		return nil, &usageError{err}
	}
	return s, nil
}

// startLocal makes a hub of the same parts as serve. The caller closes it, also after
// an error.
func startLocal(ctx context.Context, model string) (*localHub, error) {
	s, err := localSettings(model)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "detections-")
	if err != nil {
		return nil, fmt.Errorf("--local needs a temporary folder: %w", err)
	}
	localDir.Lock()
	localDir.path = dir
	localDir.Unlock()
	s.data = dir
	s.access = access{} // nobody else reaches it
	s.webrtc.listen = "off"
	s.annotations = annotations{}        // nobody would deliver what is left when the program ends
	log := slog.New(slog.DiscardHandler) // clients are told what goes wrong
	l := &localHub{dir: dir, served: make(chan struct{}), parts: build(s, log)}
	ctx, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := l.open(s, nil, 0, log); err != nil {
		close(l.served)
		return l, err
	}
	door := newMemoryListener()
	l.server = newServer(l.face, log)
	go func() {
		defer close(l.served)
		_ = l.server.Serve(door) // it ends when it is closed
	}()
	l.client = &http.Client{Transport: &http.Transport{DialContext: door.dial}}
	l.loading.Go(func() { l.deployer.once(ctx) })
	return l, nil
}

// ready waits until the engines are loaded.
func (l *localHub) ready(ctx context.Context) error {
	select {
	case <-l.deployer.settled:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if st := l.ai.Status(); st.Availability != hub.Enabled {
		return fmt.Errorf("no inference engine: %s", st.Reason)
	}
	return nil
}

// close takes the hub apart and removes what it wrote.
func (l *localHub) close() error {
	l.stop()
	var errs []error
	if l.server != nil {
		errs = append(errs, l.server.Close())
		l.client.CloseIdleConnections()
	}
	<-l.served
	errs = append(errs, l.parts.close())
	if l.face != nil {
		l.face.Wait()
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// memoryListener accepts connections that are made in this process.
type memoryListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

// dial connects to the listener.
func (l *memoryListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memoryAddr struct{}

// Network implements net.Addr.
func (memoryAddr) Network() string { return "memory" }

// String implements net.Addr.
func (memoryAddr) String() string { return "memory" }

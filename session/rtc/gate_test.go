package rtc

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// caller is a connection from an address.
type caller struct {
	net.Conn
	from string
}

func (c caller) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}
func (caller) Close() error { return nil }

// script is a listener whose connections and errors are written down.
type script chan any

func (s script) Accept() (net.Conn, error) {
	switch next := (<-s).(type) {
	case string:
		return caller{from: next}, nil
	case error:
		return nil, next
	}
	return nil, net.ErrClosed
}

func (s script) Close() error   { close(s); return nil }
func (s script) Addr() net.Addr { return &net.TCPAddr{} }

func TestAListenerWithoutDescriptorsWaitsForSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		calls := make(script, 100)
		for range 20 {
			calls <- syscall.EMFILE
		}
		calls <- "192.0.2.1:9"
		g := newGate(calls, slog.New(slog.NewTextHandler(&log, nil)))
		if c, err := g.Accept(); err != nil || c == nil {
			t.Errorf("%v: %v", c, err)
		}
		if n := strings.Count(log.String(), "too many open files"); n != 1 {
			t.Errorf("told %d times: %s", n, &log)
		}
		calls <- syscall.EMFILE
		ended := make(chan error)
		go func() { _, err := g.Accept(); ended <- err }()
		synctest.Wait()
		if err := errors.Join(g.Close(), <-ended); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestConnectionsForMediaAreBounded(t *testing.T) {
	calls := make(script, 100)
	g := newGate(calls, slog.New(slog.DiscardHandler))
	g.most, g.perAddress = 8, 2
	accept := func(from ...string) (last net.Conn, all []string) {
		for _, a := range from {
			calls <- a
		}
		calls <- net.ErrClosed // what is refused ends nothing
		for {
			c, err := g.Accept()
			if err != nil {
				return last, all
			}
			last, all = c, append(all, c.RemoteAddr().String())
		}
	}
	last, got := accept("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "[2001:db8::1]:4", "[2001:db8::2]:5", "[2001:db8::3]:6", "127.0.0.1:7", "127.0.0.1:8", "127.0.0.1:9", "192.0.2.2:10", "192.0.2.3:11")
	if want := "192.0.2.1:1 192.0.2.1:2 [2001:db8::1]:4 [2001:db8::2]:5 127.0.0.1:7 127.0.0.1:8 127.0.0.1:9 192.0.2.2:10"; strings.Join(got, " ") != want {
		t.Errorf("accepted\n%v, not\n%v", got, want)
	}
	_, _ = last.Close(), last.Close() // once counts
	if _, got = accept("192.0.2.1:12", "192.0.2.2:13", "192.0.2.2:14"); strings.Join(got, " ") != "192.0.2.2:13" {
		t.Errorf("accepted %v in the place of the one that left", got)
	}
}

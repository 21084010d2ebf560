package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"detections/web"
)

// fence are the settings of what stands between clients and the hub: TLS, proxies, and
// limits of connections; and the door behind it, for operators.
type fence struct {
	cert, key string
	proxies   []string
	admin     string
	limits    web.Limits
}

func (s *fence) flags(f *pflag.FlagSet) {
	d := web.DefaultLimits
	f.StringVar(&s.cert, "tls-cert", "", "PEM `file` with the certificate and its chain, for https; read again when it changes")
	f.StringVar(&s.key, "tls-key", "", "PEM `file` with the certificate's key")
	f.StringSliceVar(&s.proxies, "trusted-proxy", nil, "`addresses` or networks of proxies whose X-Forwarded-For is believed, as 10.0.0.0/8")
	f.StringVar(&s.admin, "admin-listen", "", "`address` on this machine for metrics and profiles (/metrics, /debug/pprof), as 127.0.0.1:9090; empty: none")
	f.IntVar(&s.limits.Conns, "max-connections", d.Conns, "most connections; never more than half of the file descriptors that the process may have")
	f.IntVar(&s.limits.PerAddress, "max-connections-per-address", d.PerAddress, "most connections from one address; this machine's and those of trusted proxies are not counted, the addresses behind these are")
	f.IntVar(&s.limits.PerPrincipal, "max-connections-per-client", d.PerPrincipal, "most requests and WebSockets of one client that are open at once, if there is authentication")
	s.limits.UploadRate = d.UploadRate
	f.Var((*byteSize)(&s.limits.UploadRate), "min-upload-rate", "least bytes per second of an upload over HTTP, on average over 30 s of waiting for it")
}

// validate says what makes no sense, and reads the addresses.
func (s *fence) validate() error {
	var errs []error
	if (s.cert == "") != (s.key == "") {
		errs = append(errs, errors.New("tls-cert and tls-key: expected both or none"))
	}
	for name, n := range map[string]int{"max-connections": s.limits.Conns, "max-connections-per-address": s.limits.PerAddress, "max-connections-per-client": s.limits.PerPrincipal} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("%s: expected at least 1, got %d", name, n))
		}
	}
	if s.limits.UploadRate < 1 {
		errs = append(errs, fmt.Errorf("min-upload-rate: expected at least 1, got %d", s.limits.UploadRate))
	}
	s.limits.Proxies = nil
	for _, text := range s.proxies {
		p, err := netip.ParsePrefix(text)
		if a, e := netip.ParseAddr(text); e == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted-proxy: expected an address or a network such as 10.0.0.0/8, got %q", text))
		}
		s.limits.Proxies = append(s.limits.Proxies, p)
	}
	return errors.Join(errs...)
}

// listenAdmin serves metrics and profiles to this machine; nil: that is off.
func (s *fence) listenAdmin(m http.Handler, log *slog.Logger) (*http.Server, error) {
	if s.admin == "" {
		return nil, nil
	}
	// A successor listens while its predecessor still does.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	l, err := shared.Listen(context.Background(), "tcp", s.admin)
	if err != nil {
		return nil, fmt.Errorf("admin-listen: %w", err)
	}
	if !isLoopback(l.Addr()) {
		return nil, &usageError{errors.Join(fmt.Errorf("admin-listen: %s can be reached from other machines, and asks nobody who he is; expected an address such as 127.0.0.1:9090", l.Addr()), l.Close())}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := newServer(onlyHere(mux), log)
	go func() { _ = server.Serve(l) }() // it ends when it is closed
	log.Info("metrics and profiles", "url", "http://"+l.Addr().String())
	return server, nil
}

// onlyHere refuses what a page in a browser on this machine was made to ask.
func onlyHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if r.Header.Get("Origin") != "" || host != "localhost" && net.ParseIP(host) == nil {
			http.Error(w, "not from here", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serve is http.Server.Serve, with TLS if there is a certificate.
func (s *fence) serve(server *http.Server, l net.Listener) error {
	if server.TLSConfig == nil {
		return server.Serve(l)
	}
	return server.ServeTLS(l, "", "")
}

// tls is how the server proves who it is; nil: it does not.
func (s *fence) tls(log *slog.Logger) (*tls.Config, error) {
	if s.cert == "" {
		return nil, nil
	}
	c := &certificate{files: [2]string{s.cert, s.key}, log: log}
	if err := c.read(); err != nil {
		return nil, &usageError{fmt.Errorf("tls-cert, tls-key: %w", err)}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// certificate is one in files, which are looked at again when somebody connects.
type certificate struct {
	files [2]string // certificate, key
	log   *slog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate // guarded by mu
	stamps []os.FileInfo    // guarded by mu: of what was read
	looked time.Time        // guarded by mu
}

// get gives the certificate in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) >= time.Second {
		if stamps, err := c.look(); err != nil || !slices.EqualFunc(stamps, c.stamps, sameFile) {
			switch err := errors.Join(err, c.readLocked()); {
			case err != nil: // half of a pair may be there already
				c.log.Warn("the certificate cannot be read again; the one before stays", "err", err)
			default:
				c.log.Info("another certificate is in force", "expires", c.pair.Leaf.NotAfter)
			}
		}
	}
	return c.pair, nil
}

func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (c *certificate) read() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readLocked()
}

// look says what the files are. c.mu is held.
func (c *certificate) look() (stamps []os.FileInfo, err error) {
	c.looked = time.Now()
	for _, f := range c.files {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		stamps = append(stamps, info)
	}
	return stamps, nil
}

// readLocked reads the files. c.mu is held.
func (c *certificate) readLocked() error {
	stamps, err := c.look()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.files[0], c.files[1])
	if err != nil {
		return err
	}
	c.pair, c.stamps = &pair, stamps
	return nil
}

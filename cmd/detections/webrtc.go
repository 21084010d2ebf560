package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"detections/hub"
	"detections/session/rtc"
)

// webrtc are the settings of live media over WebRTC.
type webrtc struct {
	listen     string
	publicIPs  []string
	interfaces []string
	servers    []string
	user       string
	credential string
	jitter     time.Duration
}

// mediaPort is where media comes in unless told otherwise, over UDP and TCP.
const mediaPort = "8189"

// givingUp is how long a predecessor may hold the media port after the data directory.
const givingUp = 10 * time.Second

func (w *webrtc) flags(f *pflag.FlagSet) {
	f.StringVar(&w.listen, "rtc-listen", "", "address and port for media over WebRTC, UDP and TCP; off: none; default: the address of --listen and port "+mediaPort+", or none if that is taken")
	f.StringSliceVar(&w.publicIPs, "rtc-public-ip", nil, "`addresses` under which --rtc-listen can be reached from elsewhere, offered beside the machine's own")
	f.StringSliceVar(&w.interfaces, "rtc-interface", nil, "network `interfaces` whose addresses are offered, if --rtc-listen names no address; default: all but loopback")
	f.StringSliceVar(&w.servers, "rtc-ice-server", nil, "STUN and TURN `servers` that clients are told, as stun:host:port or turn:host:port?transport=tcp")
	f.StringVar(&w.user, "rtc-turn-user", "", "user name for the TURN servers")
	f.StringVar(&w.credential, "rtc-turn-credential", "", "password for the TURN servers; every client is told it")
	f.DurationVar(&w.jitter, "rtc-jitter", 200*time.Millisecond, "how long a missing packet is waited for before its frame counts as lost")
}

func (w *webrtc) validate() error {
	var errs []error
	for _, ip := range w.publicIPs {
		if net.ParseIP(ip) == nil {
			errs = append(errs, fmt.Errorf("rtc-public-ip: expected an address, got %q", ip))
		}
	}
	for _, url := range w.servers {
		scheme, _, _ := strings.Cut(url, ":")
		switch scheme {
		case "stun", "stuns":
		case "turn", "turns":
			if w.user == "" || w.credential == "" {
				errs = append(errs, fmt.Errorf("rtc-ice-server: %s needs --rtc-turn-user and --rtc-turn-credential", url))
			}
		default:
			errs = append(errs, fmt.Errorf("rtc-ice-server: expected stun:… or turn:…, got %q", url))
		}
	}
	if w.jitter < time.Millisecond || w.jitter > 5*time.Second {
		errs = append(errs, fmt.Errorf("rtc-jitter: expected 1ms to 5s, got %v", w.jitter))
	}
	if w.listen != "" && w.listen != "off" {
		if _, _, err := net.SplitHostPort(w.listen); err != nil {
			errs = append(errs, fmt.Errorf("rtc-listen: %w", err))
		}
	}
	return errors.Join(errs...)
}

// open opens the media port; nil: there is none, and that is no error. http is where
// HTTP is served. A predecessor may need some time to give the port up.
func (w *webrtc) open(h *hub.Hub, http string, wait time.Duration, log *slog.Logger) (*rtc.Server, error) {
	if w.listen == "off" {
		return nil, nil
	}
	host, _, _ := net.SplitHostPort(http)
	c := rtc.Config{
		Hub: h, Listen: cmp.Or(w.listen, net.JoinHostPort(host, mediaPort)), PublicIPs: w.publicIPs,
		Interfaces: w.interfaces, Jitter: w.jitter, Wait: min(wait, givingUp), Logger: log,
	}
	for _, url := range w.servers {
		server := rtc.ICEServer{URL: url}
		if strings.HasPrefix(url, "turn") {
			server.Username, server.Credential = w.user, w.credential
		}
		c.ICEServers = append(c.ICEServers, server)
	}
	s, err := rtc.New(c)
	switch {
	case err != nil && w.listen == "" && errors.Is(err, syscall.EADDRINUSE):
		log.Warn("no media over WebRTC: the port is taken; choose another with --rtc-listen", "err", err)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("rtc-listen: %w", err)
	}
	if at := s.Addr(); at != nil {
		log.Info("media over WebRTC", "addr", at.String())
	}
	return s, nil
}

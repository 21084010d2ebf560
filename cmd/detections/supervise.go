package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// supervisor tells systemd how the program is, if systemd wants to know
// (Type=notify, WatchdogSec=). Without it nothing is done.
type supervisor struct {
	log  *slog.Logger
	quit chan struct{}
	work sync.WaitGroup
}

// supervise says that the program serves. alive is asked before each sign of life; if it
// does not return there is none, and systemd starts the program anew.
func supervise(alive func(), log *slog.Logger) *supervisor {
	s := &supervisor{log: log, quit: make(chan struct{})}
	s.tell(daemon.SdNotifyReady)
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog", "err", err)
	}
	if interval > 0 {
		s.work.Go(func() { s.watch(interval/2, alive) })
	}
	return s
}

func (s *supervisor) watch(every time.Duration, alive func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			alive()
			s.tell(daemon.SdNotifyWatchdog)
		case <-s.quit:
			return
		}
	}
}

// stopping says that the program is about to leave. Signs of life go on until end.
func (s *supervisor) stopping() { s.tell(daemon.SdNotifyStopping) }

func (s *supervisor) end() {
	close(s.quit)
	s.work.Wait()
}

func (s *supervisor) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd was not told", "state", state, "err", err)
	}
}

package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"detections/hub/timeline"
)

// storage is the health of the timelines' store, as its writers find it.
type storage struct {
	log     *slog.Logger
	leaving chan struct{} // closed by leave
	once    sync.Once     // of leave

	mu      sync.Mutex
	waiting int   // guarded by mu: sessions that wait for room
	broken  error // guarded by mu: why nothing can be written any more
}

func newStorage(log *slog.Logger) *storage { return &storage{log: log, leaving: make(chan struct{})} }

// leave ends the waits for room: another process goes on. Sessions must have been
// suspended before, or they take it for a failure.
func (s *storage) leave() { s.once.Do(func() { close(s.leaving) }) }

// fullRetry is how often a full disk is tried again.
const fullRetry = 250 * time.Millisecond

// write does something to the store. On a full disk it waits for room: the session
// stands still meanwhile, and with it its client, and nothing of it is lost.
func (s *storage) write(do func() error) error {
	err := do()
	if errors.Is(err, timeline.ErrFull) {
		s.wait(1)
		defer s.wait(-1)
		err = s.retry(do)
	}
	if errors.Is(err, timeline.ErrStorage) {
		s.fail(err)
	}
	return err
}

// retry goes on until there is room, or nobody waits any more.
func (s *storage) retry(do func() error) error {
	tick := time.NewTicker(fullRetry)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.leaving:
			return timeline.ErrFull
		}
		if err := do(); !errors.Is(err, timeline.ErrFull) {
			return err
		}
	}
}

func (s *storage) wait(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.waiting += n; {
	case s.waiting == 1 && n > 0:
		s.log.Warn("the disk is full, sessions wait for room")
	case s.waiting == 0:
		s.log.Info("the disk has room again")
	}
}

func (s *storage) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = err
		s.log.Error("the store cannot be written any more; what was acknowledged is kept, start the hub again", "err", err)
	}
}

// notReady says what is wrong; nothing: all is well.
func (s *storage) notReady() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return fmt.Sprintf("the store cannot be written: %v", s.broken)
	case s.waiting > 0:
		return fmt.Sprintf("the disk is full, and %d sessions wait for room", s.waiting)
	}
	return ""
}

package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// open makes the first connection. A hub that is not there is an error at once; one
// that is busy, or is lost on the way, is asked again.
func (s *Session) open() (*conn, error) {
	begun := time.Now()
	for n := 0; ; n++ {
		c, err := s.attach(s.ctx)
		if err == nil {
			return c, nil
		}
		if _, dial := errors.AsType[*dialError](err); dial || !again(err) || time.Since(begun) > s.c.cfg.Patience {
			return nil, err
		}
		wait := s.c.delay(n)
		s.c.log.Info("the hub is busy", "err", err, "retry", wait)
		if !sleep(s.ctx, wait) {
			return nil, context.Cause(s.ctx)
		}
	}
}

// comeBack makes another connection after one was lost.
func (s *Session) comeBack(lost error) (*conn, error) {
	for {
		switch now := time.Now(); {
		case s.life.Err() != nil:
			return nil, context.Cause(s.life)
		case s.stay || !again(lost):
			return nil, lost
		case s.outage.IsZero():
			s.outage, s.attempt = now, 0
		case now.Sub(s.outage) > s.c.cfg.Patience:
			return nil, s.tooLong(lost)
		}
		wait := max(s.retry, s.c.delay(s.attempt))
		s.retry = 0
		s.attempt++
		s.c.log.Info("connection lost", "session", s.started.Session, "err", lost, "attempt", s.attempt, "retry", wait)
		s.deliver(&Lost{Err: lost, Attempt: s.attempt, Wait: wait})
		if !sleep(s.life, wait) {
			return nil, context.Cause(s.life)
		}
		c, err := s.attach(s.life)
		if err == nil {
			return c, nil
		}
		lost = err
	}
}

// tooLong says why no more is tried.
func (s *Session) tooLong(lost error) error {
	_, refused := errors.AsType[*wire.Error](lost)
	if !refused && !errors.Is(lost, ErrUnreachable) {
		lost = fmt.Errorf("%w: %w", ErrUnreachable, lost)
	}
	return fmt.Errorf("%w; tried for %v", lost, s.c.cfg.Patience)
}

// progressed ends an outage: the connection was good for something.
func (s *Session) progressed() { s.outage = time.Time{} }

// delay is a random time below a bound that doubles with each attempt (full jitter):
// clients that were lost together do not come back together.
func (c *Client) delay(attempt int) time.Duration {
	bound := c.cfg.MaxDelay
	if attempt < 16 {
		bound = min(bound, c.cfg.Delay<<attempt)
	}
	return rand.N(bound) + 1 //nolint:gosec // G404: a delay is no secret
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again says whether trying again can help after err.
func again(err error) bool {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return comesBack(e.Code)
	}
	if errors.Is(err, ErrNotAHub) {
		return false
	}
	switch code := websocket.CloseStatus(err); {
	case code >= 4500:
		return false
	case code == websocket.StatusMessageTooBig, code == websocket.StatusProtocolError, code == websocket.StatusUnsupportedData,
		code == websocket.StatusInvalidFramePayloadData, code == websocket.StatusPolicyViolation, code == websocket.StatusMandatoryExtension:
		return false
	}
	return true
}

// comesBack says what the close code of the table says of a code: 4000 to 4499, a
// hub that goes away and a fault of the hub are worth another try.
func comesBack(c wire.Code) bool {
	info := c.Info()
	return info.Close >= 4000 && info.Close < 4500 || info.Close == 1001 || info.Close == 1011
}

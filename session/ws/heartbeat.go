package ws

import (
	"context"
	"sync"
	"time"

	"detections/session/wire"
)

// heart finds a peer that is gone without a word: it must answer a ping within two
// heartbeats, so it is lost after three. A pong cannot overtake a long message on a slow
// line, so bytes of a message count too. Between beats there is only a timer, because
// most connections wait most of the time.
type heart struct {
	c      *conn
	ctx    context.Context //nolint:containedctx // it ends with the connection
	cancel context.CancelFunc

	mu    sync.Mutex
	timer *time.Timer   // guarded by mu
	beats chan struct{} // guarded by mu: closed when the ping that runs has ended; nil: none runs
}

func (c *conn) startHeart() *heart {
	h := &heart{c: c}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(c.attached.Session.Heartbeat(), h.beat)
	return h
}

// stop returns when no ping runs any more.
func (h *heart) stop() {
	h.cancel()
	h.mu.Lock()
	h.timer.Stop()
	running := h.beats
	h.mu.Unlock()
	if running != nil {
		<-running
	}
}

// beat pings once, and sets the timer for the next time.
func (h *heart) beat() {
	h.mu.Lock()
	if h.ctx.Err() != nil {
		h.mu.Unlock()
		return
	}
	h.beats = make(chan struct{})
	h.mu.Unlock()
	alive := h.ping()
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.beats)
	h.beats = nil
	if alive && h.ctx.Err() == nil {
		h.timer.Reset(h.c.attached.Session.Heartbeat())
	}
}

// ping says whether the peer is still there; if not, it has closed the connection.
func (h *heart) ping() bool {
	c, patience := h.c, 2*h.c.attached.Session.Heartbeat()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	err := c.socket.Ping(ctx)
	silent := time.Since(c.begun)-time.Duration(c.heard.Load()) >= patience
	if err == nil || ctx.Err() == nil || h.ctx.Err() != nil || !silent {
		return true
	}
	c.close(fatal(wire.Errorf(wire.HeartbeatLost, "")))
	return false
}

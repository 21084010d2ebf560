//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"detections/session/wire"
)

const (
	scrapeSessions = 1000
	scrapes        = 20
	scrapeTarget   = 10 // ms
	drainIdle      = 50
	drainActive    = 10
	drainTarget    = 2000 // ms, beside --drain-delay
	drainClip      = "people.mp4"
)

// operate measures what operators wait for: a scrape of the metrics of a busy hub, and the
// end of one after SIGTERM.
func (b *bench) operate(ctx context.Context) error {
	var scrape, free sample
	bytes := 0
	if err := b.scrapes(ctx, &scrape, &bytes); err != nil {
		return err
	}
	for range b.reps {
		if err := b.drainOnce(ctx, &free); err != nil {
			return err
		}
	}
	b.out.table("OPERATE, ms; median [lowest–highest]", [][]string{
		{"", "measured", "target", ""},
		{
			fmt.Sprintf("GET /metrics at %d sessions, %d KB", scrapeSessions, bytes/1000), scrape.show("%.1f"),
			fmt.Sprintf("≤ %d", scrapeTarget), verdict(scrape.median() <= scrapeTarget),
		},
		{
			fmt.Sprintf("SIGTERM to exit, %d idle and %d active sessions", drainIdle, drainActive), free.show("%.0f"),
			fmt.Sprintf("≤ %d", drainTarget), verdict(free.median() <= drainTarget),
		},
	})
	return nil
}

// crowded starts a hub with sessions whose media has not begun.
func (b *bench) crowded(ctx context.Context, sessions int) (h *hub, err error) {
	h, err = startHub(ctx, b.options, "--max-sessions", strconv.Itoa(2*sessions+100))
	if err != nil {
		return nil, err
	}
	for range sessions {
		c, err := webSocket.open(h, ctx, wire.Start{})
		if err != nil {
			return nil, errors.Join(err, h.stop())
		}
		if m := <-c.messages; m.Type != wire.TypeStarted {
			return nil, errors.Join(fmt.Errorf("a session began with %q: %w", m.Type, c.err), h.stop())
		}
	}
	return h, nil
}

func (b *bench) scrapes(ctx context.Context, took *sample, bytes *int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := b.crowded(ctx, scrapeSessions)
	if err != nil {
		return err
	}
	for range scrapes {
		begun := time.Now()
		text, err := h.get(ctx, "/metrics")
		if err != nil {
			return errors.Join(err, h.stop())
		}
		took.addMS(time.Since(begun))
		*bytes = len(text)
	}
	return h.stop()
}

func (b *bench) drainOnce(ctx context.Context, took *sample) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := b.crowded(ctx, drainIdle)
	if err != nil {
		return err
	}
	c, err := b.clip(drainClip)
	if err != nil {
		return errors.Join(err, h.stop())
	}
	for range drainActive {
		s, err := webSocket.open(h, ctx, wire.Start{Sample: &wire.Sample{FPS: 2}})
		if err != nil {
			return errors.Join(err, h.stop())
		}
		go func() { _ = (&pacer{rate: c.rate()}).run(ctx, s, c.bytes) }() // it is cut off
		for m := range s.messages {                                       // until it works
			if m.Type == wire.TypeDetections {
				break
			}
		}
	}
	begun := time.Now()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err = <-h.gone
	took.addMS(time.Since(begun))
	return errors.Join(err, h.stop())
}

//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

const (
	memorySessions = 4
	memoryClip     = "camera.mp4" // 1080p
	memoryTarget   = 60           // MB
	idleWatchers   = 200
	memoryReadings = 10 // half a second apart; the highest counts
)

// memory looks at an idle hub, at one with many connections that do nothing, and at
// one with sessions of 1080p video at their own rate.
func (b *bench) memory(ctx context.Context) error {
	if err := b.hub.settled(ctx); err != nil {
		return err
	}
	idle, err := readMemory(b.hub.pid)
	if err != nil {
		return err
	}
	rows := [][]string{{"memory, MB", "RSS", "PSS", "target", ""}}
	add := func(name string, m memory) {
		rows = append(rows, []string{name, fmt.Sprintf("%.2f", m.rss), fmt.Sprintf("%.2f", m.pss), "", ""})
	}
	add("hub, idle", idle)
	for _, m := range b.hub.largest(1) {
		add("a decoder process that waits for a job", m)
	}
	// First the sessions: what connections add is read from a hub that has worked.
	active, err := b.memoryOfSessions(ctx)
	if err != nil {
		return err
	}
	connection, err := b.memoryOfConnections(ctx)
	if err != nil {
		return err
	}
	add(fmt.Sprintf("hub, for each of %d idle WebSockets that watch", idleWatchers), connection)
	for _, m := range active.decoder {
		add("decoder process of a 1080p session", m)
	}
	rows = append(rows, []string{
		fmt.Sprintf("for each of %d 1080p sessions, all processes", memorySessions), "", fmt.Sprintf("%.2f", active.each),
		fmt.Sprintf("≤ %d", memoryTarget), verdict(active.each <= memoryTarget),
	})
	b.out.table("MEMORY", rows)
	b.out.line("  RSS counts shared pages in every process, PSS divides them. A session is what hub and decoder processes have more, together,\n"+
		"  than without sessions, PSS, the highest of %d readings; the page cache of spooled uploads is the kernel's and not in it.", memoryReadings)
	return nil
}

// all is the memory of the hub and its decoder processes together.
func (h *hub) all() (float64, error) {
	m, err := readMemory(h.pid)
	for _, c := range h.children() {
		if m2, err := readMemory(c.pid); err == nil { // else it has ended
			m.pss += m2.pss
		}
	}
	return m.pss, err
}

// activeMemory is what sessions add.
type activeMemory struct {
	each    float64 // PSS of all processes, for each session
	decoder []memory
}

func (b *bench) memoryOfSessions(ctx context.Context) (a activeMemory, err error) {
	before, err := b.hub.all()
	if err != nil {
		return a, err
	}
	c, err := b.clip(memoryClip)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clients []*client
	for range memorySessions {
		s, err := webSocket.open(b.hub, ctx, wire.Start{Sample: &wire.Sample{FPS: 2}})
		if err != nil {
			return a, err
		}
		clients = append(clients, s)
		go func() { _ = (&pacer{rate: c.rate()}).run(ctx, s, c.bytes) }() // a failure shows below
	}
	for range memoryReadings {
		time.Sleep(500 * time.Millisecond)
		now, err := b.hub.all()
		if err != nil {
			return a, err
		}
		if each := (now - before) / memorySessions; each > a.each {
			a.each, a.decoder = each, b.hub.largest(1)
		}
	}
	for _, s := range clients {
		s.stop()
		results := 0
		for m := range s.messages {
			if m.Type == wire.TypeDetections {
				results++
			}
		}
		if results == 0 {
			return a, fmt.Errorf("a session of %s without results: %w", memoryClip, s.err)
		}
	}
	return a, b.hub.settled(ctx)
}

// memoryOfConnections is what a connection adds that only watches, and sees nothing.
func (b *bench) memoryOfConnections(ctx context.Context) (m memory, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := webSocket.open(b.hub, ctx, wire.Start{})
	if err != nil {
		return m, err
	}
	begun := <-s.messages
	if begun.Type != wire.TypeStarted {
		return m, fmt.Errorf("a session began with %q: %w", begun.Type, s.err)
	}
	time.Sleep(time.Second)
	before, err := readMemory(b.hub.pid)
	if err != nil {
		return m, err
	}
	for range idleWatchers {
		conn, _, err := websocket.Dial(ctx, b.hub.url+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			return m, err
		}
		defer func() { _ = conn.CloseNow() }() // nothing more is read
		watch := fmt.Appendf(nil, `{"type":"watch","session":%q}`, begun.Session)
		if err := conn.Write(ctx, websocket.MessageText, watch); err != nil {
			return m, err
		}
		if _, _, err := conn.Read(ctx); err != nil { // started
			return m, err
		}
	}
	time.Sleep(time.Second)
	after, err := readMemory(b.hub.pid)
	s.stop()
	m = memory{(after.rss - before.rss) / idleWatchers, (after.pss - before.pss) / idleWatchers}
	return m, errors.Join(err, b.hub.settled(ctx))
}

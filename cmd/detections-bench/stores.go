//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
)

// Targets of the store on disk, against the one in memory.
const (
	storeRatio    = 0.98
	intervalAdded = 2 * time.Millisecond
	alwaysAdded   = 12 * time.Millisecond
)

// storeKind is a way to keep results.
type storeKind struct {
	name  string
	args  []string
	added time.Duration // most that the 99th percentile of an append may take
}

var storeKinds = []storeKind{
	{"memory", []string{"--store", "memory"}, 0},
	{"disk, sync interval", nil, intervalAdded},
	{"disk, sync always", []string{"--sync", "always"}, alwaysAdded},
}

// stores runs the same file session on every kind of store, one after the other.
func (b *bench) stores(ctx context.Context) error {
	c, err := b.clip(throughputClip)
	if err != nil {
		return err
	}
	fps, p99, ratio := make([]sample, len(storeKinds)), make([]sample, len(storeKinds)), make([]sample, len(storeKinds))
	own := b.hub
	defer func() { b.hub = own }()
	for range b.reps {
		var memory float64
		for i, k := range storeKinds {
			rate, tail, err := b.onStore(ctx, k, c)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			if i == 0 {
				memory = rate
			}
			fps[i].add(rate)
			p99[i].addMS(tail)
			ratio[i].add(rate / memory)
		}
	}
	rows := [][]string{{"results are kept", "frames/s", "against memory", "target", "", "append, p99 ms", "target", ""}}
	for i, k := range storeKinds {
		row := []string{k.name, fps[i].show("%.1f"), ratio[i].show("%.3f"), "", "", p99[i].show("%.2f"), "", ""}
		if i > 0 {
			most := float64(k.added) / float64(time.Millisecond)
			row = []string{
				k.name, fps[i].show("%.1f"), ratio[i].show("%.3f"), fmt.Sprintf("≥ %.2f", storeRatio), verdict(ratio[i].median() >= storeRatio),
				p99[i].show("%.2f"), fmt.Sprintf("≤ %.0f", most), verdict(p99[i].median() <= most),
			}
		}
		rows = append(rows, row)
	}
	b.out.table(fmt.Sprintf("STORES: one file session of %s, both cores busy; median of %d [lowest–highest]. A result leaves on the socket after its append.", throughputClip, b.reps), rows)
	return nil
}

// onStore is one session on a hub of its own.
func (b *bench) onStore(ctx context.Context, k storeKind, c *clip) (fps float64, p99 time.Duration, err error) {
	if b.hub, err = startHub(ctx, b.options, k.args...); err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, b.hub.stop()) }()
	s, err := b.session(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	p99, err = b.hub.percentile(ctx, "detections_append_seconds", 0.99)
	return float64(s.frames) / s.use.wall.Seconds(), p99, err
}

// percentile reads one off a histogram of the hub: the upper end of the bucket it lies in.
func (h *hub) percentile(ctx context.Context, name string, p float64) (time.Duration, error) {
	text, err := h.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	var ends, counts []float64
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name+`_bucket{le="`)
		if !ok {
			continue
		}
		le, count, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
		end, err1 := strconv.ParseFloat(le, 64)
		n, err2 := strconv.ParseFloat(count, 64)
		if err := errors.Join(err1, err2); err != nil {
			return 0, err
		}
		ends, counts = append(ends, end), append(counts, n)
	}
	for i, n := range counts {
		if n > 0 && n >= p*counts[len(counts)-1] && !math.IsInf(ends[i], 1) {
			return time.Duration(ends[i] * float64(time.Second)), nil
		}
	}
	return 0, fmt.Errorf("no %s in /metrics", name)
}

// Targets of a restart.
const (
	nextTarget   = 1500 // ms
	takeUpTarget = 2000 // ms
	manySessions = 1000
)

// restart kills the hub in the middle of a session and starts it again.
func (b *bench) restart(ctx context.Context) error {
	c, err := b.clip(throughputClip)
	if err != nil {
		return err
	}
	own := b.hub
	defer func() { b.hub = own }()
	var serves, next, taken sample
	for range b.reps {
		if err := b.restartOnce(ctx, c, &serves, &next); err != nil {
			return err
		}
	}
	if err := b.takeUpMany(ctx, &taken); err != nil {
		return err
	}
	b.out.table(fmt.Sprintf("RESTART after kill -9, ms from the start of the program; median of %d [lowest–highest]", b.reps), [][]string{
		{"", "measured", "target", ""},
		{"it serves", serves.show("%.0f"), "", ""},
		{fmt.Sprintf("next result of a complete %s (demuxed from its beginning, decoded from the last key packet)", throughputClip), next.show("%.0f"), fmt.Sprintf("≤ %d", nextTarget), verdict(next.median() <= nextTarget)},
		{fmt.Sprintf("finding %d unfinished sessions", manySessions), taken.show("%.0f"), fmt.Sprintf("≤ %d", takeUpTarget), verdict(taken.median() <= takeUpTarget)},
	})
	return nil
}

func (b *bench) restartOnce(ctx context.Context, c *clip, serves, next *sample) (err error) {
	h, err := startHub(ctx, b.options)
	if err != nil {
		return err
	}
	b.hub = h
	s, err := webSocket.open(h, ctx, wire.Start{Media: wire.Media{Size: int64(len(c.bytes))}})
	if err != nil {
		return errors.Join(err, h.stop())
	}
	go func() { _ = new(pacer).run(ctx, s, c.bytes) }() // the session's messages tell
	session, results := "", 0
	for m := range s.messages {
		if m.Type == wire.TypeStarted {
			session = m.Session
		}
		if m.Type == wire.TypeDetections {
			results++
		}
		if results == 150 {
			break
		}
	}
	_ = h.cmd.Process.Signal(syscall.SIGKILL) // it may be gone
	<-h.gone                                  //nolint:errcheck // it was killed
	begun := time.Now()
	h, err = launchHub(ctx, b.options, h.data)
	if err != nil {
		return err
	}
	b.hub = h
	serves.addMS(time.Since(begun))
	at, err := h.nextResult(ctx, session)
	if err == nil {
		next.addMS(at.Sub(begun))
	}
	return errors.Join(err, h.stop())
}

// nextResult watches a session from where it stands now, and returns when it got on.
func (h *hub) nextResult(ctx context.Context, session string) (time.Time, error) {
	stands := struct{ Offset uint64 }{}
	text, err := h.get(ctx, "/v1/sessions/"+session)
	if err == nil {
		err = json.Unmarshal(text, &stands)
	}
	if err != nil {
		return time.Time{}, err
	}
	c, _, err := websocket.Dial(ctx, h.url+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		return time.Time{}, err
	}
	defer func() { _ = c.CloseNow() }() // only read
	c.SetReadLimit(-1)
	hello := fmt.Sprintf(`{"type":"watch","session":%q,"offset":%d}`, session, stands.Offset)
	if err := c.Write(ctx, websocket.MessageText, []byte(hello)); err != nil {
		return time.Time{}, err
	}
	for {
		_, text, err := c.Read(ctx)
		if err != nil || strings.HasPrefix(string(text), string(resultPrefix)) {
			return time.Now(), err
		}
	}
}

// takeUpMany leaves many sessions unfinished, kills the hub and starts it again.
func (b *bench) takeUpMany(ctx context.Context, taken *sample) error {
	limit := []string{"--max-sessions", strconv.Itoa(manySessions + 10)}
	h, err := startHub(ctx, b.options, limit...)
	if err != nil {
		return err
	}
	b.hub = h
	for range manySessions {
		s, err := webSocket.open(h, ctx, wire.Start{})
		if err != nil {
			return errors.Join(err, h.stop())
		}
		for m := range s.messages {
			if m.Type == wire.TypeStarted {
				break
			}
		}
	}
	_ = h.cmd.Process.Signal(syscall.SIGKILL) // it may be gone
	<-h.gone                                  //nolint:errcheck // it was killed
	if h, err = launchHub(ctx, b.options, h.data, limit...); err != nil {
		return err
	}
	b.hub = h
	taken.addMS(h.takenUp)
	return h.stop()
}

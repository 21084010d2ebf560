//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"detections/session/wire"
)

// streamable are the containers that can be decoded while they arrive.
var streamable = []string{
	"people.mp4", "people-frag.mp4", "people.ts", "people.mkv", "people-vp8.webm", "people-vp9.webm", "people-bframes.mp4",
}

// firstTarget is how soon the first detections must come.
const firstTarget = 300 * time.Millisecond

// firstOf are the repetitions of one clip and door, in ms.
type firstOf struct {
	latency, bytes, decode, queue, infer sample
}

func (b *bench) first(ctx context.Context) error {
	doors := []door{webSocket, post}
	got := map[string]*firstOf{}
	var clips []*clip
	for _, name := range streamable {
		c, err := b.clip(name)
		if err != nil {
			return err
		}
		clips = append(clips, c)
		for _, d := range doors {
			got[name+d.name] = &firstOf{}
		}
	}
	for range b.reps {
		for _, d := range doors {
			for _, c := range clips {
				if err := b.firstOnce(ctx, d, c, got[c.name+d.name]); err != nil {
					return fmt.Errorf("%s over %s: %w", c.name, d.name, err)
				}
			}
		}
	}
	rows := [][]string{{"first detections, ms after that byte", "byte", "of", "WebSocket", "", "POST", "", "target"}}
	parts := [][]string{{"of which, ms (WebSocket)", "more bytes", "decode, answer", "queue", "infer"}}
	for _, c := range clips {
		row := []string{c.name, fmt.Sprint(c.firstByte()), fmt.Sprint(len(c.bytes))}
		for _, d := range doors {
			l := got[c.name+d.name].latency
			row = append(row, l.show("%.0f"), verdict(l.median() < ms(firstTarget)))
		}
		rows = append(rows, append(row, fmt.Sprintf("< %d", firstTarget.Milliseconds())))
		f := got[c.name+webSocket.name]
		parts = append(parts, []string{
			c.name, f.bytes.show("%.0f"), f.decode.show("%.0f"), f.queue.show("%.0f"), f.infer.show("%.0f"),
		})
	}
	b.out.table(fmt.Sprintf("FIRST DETECTION: upload at the clip's own rate; median of %d [lowest–highest]", b.reps), rows)
	b.out.table("  by the first result's own timing; \"more bytes\" is what the decoder waited for beyond that byte, and the network", parts)
	return nil
}

// firstOnce uploads until the first detections have come.
func (b *bench) firstOnce(ctx context.Context, d door, c *clip, f *firstOf) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := d.open(b.hub, ctx, wire.Start{})
	if err != nil {
		return err
	}
	p := &pacer{rate: c.rate(), mark: c.firstByte()}
	feeding, enough := context.WithCancel(ctx)
	defer enough()
	fed := make(chan error, 1)
	go func() { fed <- p.run(feeding, s, c.bytes) }()
	var first message
	for m := range s.messages {
		if m.Type == wire.TypeDetections {
			first = m
			break
		}
	}
	marked := p.markedAt()
	enough()
	err = <-fed
	s.stop()
	for range s.messages { // until the session has ended
	}
	if first.at.IsZero() {
		return fmt.Errorf("no detections: %w", errors.Join(err, s.err))
	}
	t := first.Timing
	latency := first.at.Sub(marked)
	f.latency.addMS(latency)
	f.bytes.addMS(latency - time.Duration(t.Total))
	f.queue.addMS(time.Duration(t.Queue))
	f.infer.addMS(time.Duration(t.Infer))
	f.decode.addMS(time.Duration(t.Total - t.Queue - t.Infer))
	return b.hub.settled(ctx)
}

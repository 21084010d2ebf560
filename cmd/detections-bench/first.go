//go:build cgo

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"detections/media"
	"detections/media/av"
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
				if err := b.firstOnce(ctx, d, upload{c.bytes, c.rate(), c.firstByte()}, got[c.name+d.name]); err != nil {
					return fmt.Errorf("%s over %s: %w", c.name, d.name, err)
				}
			}
		}
	}
	rows := [][]string{{"first detections, ms after a byte", "byte", "of", "WebSocket", "", "POST", "", "target", "after its packet", "WebSocket", "POST"}}
	parts := [][]string{{"of which, ms (WebSocket)", "more bytes", "decode, answer", "queue", "infer"}}
	for _, c := range clips {
		emitted, err := b.cost(c.name, media.Sample{})
		if err != nil {
			return err
		}
		// What the parser waits for after the packet's own end, at the clip's rate.
		parser := max(0, 1000*float64(emitted.FirstFrame-c.firstByte())/c.rate())
		row := []string{c.name, fmt.Sprint(emitted.FirstFrame), fmt.Sprint(len(c.bytes))}
		strict := []string{fmt.Sprint(c.firstByte())}
		for _, d := range doors {
			l := got[c.name+d.name].latency
			after := l.minus(parser)
			row = append(row, after.show("%.0f"), verdict(after.median() < ms(firstTarget)))
			strict = append(strict, l.show("%.0f"))
		}
		row = append(row, fmt.Sprintf("< %d", firstTarget.Milliseconds()))
		rows = append(rows, append(row, strict...))
		f := got[c.name+webSocket.name]
		parts = append(parts, []string{
			c.name, f.bytes.show("%.0f"), f.decode.show("%.0f"), f.queue.show("%.0f"), f.infer.show("%.0f"),
		})
	}
	b.out.table(fmt.Sprintf("FIRST DETECTION: upload at the clip's own rate; median of %d [lowest–highest]", b.reps), rows)
	b.out.line("  byte: with so many bytes FFmpeg without probing emits the first picture; packet: where ffprobe sees its packet end. In MPEG-TS\n" +
		"  they are a picture apart, because FFmpeg's parser takes a picture for complete only when it has the next one.")
	b.out.table("  by the first result's own timing; \"more bytes\" is what the decoder waited for beyond that byte, and the network", parts)
	return nil
}

// cost is what decoding a file in this process costs, and the byte with which
// FFmpeg, without probing, emits its first picture.
func (b *bench) cost(name string, rule media.Sample) (av.Cost, error) {
	f, err := os.Open(filepath.Join(b.media, name)) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return av.Cost{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	return av.Measure(f, media.Job{Views: []media.View{{Width: 416, Height: 416}}, Sample: rule})
}

// upload is media to be sent at a rate; a byte of it is marked.
type upload struct {
	bytes []byte
	rate  float64 // bytes per second; 0: as fast as possible
	mark  int64
}

// firstOnce uploads until the first detections have come.
func (b *bench) firstOnce(ctx context.Context, d door, u upload, f *firstOf) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := d.open(b.hub, ctx, wire.Start{})
	if err != nil {
		return err
	}
	p := &pacer{rate: u.rate, mark: u.mark}
	feeding, enough := context.WithCancel(ctx)
	defer enough()
	fed := make(chan error, 1)
	go func() { fed <- p.run(feeding, s, u.bytes) }()
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

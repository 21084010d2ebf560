//go:build cgo

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"detections/session/wire"
)

const pictures = 100

// info prints memory, latency of pictures, and where the time of a result goes.
func (b *bench) info(ctx context.Context) error {
	for _, ask := range []func(context.Context) error{b.memory, b.infoPictures, b.infoTiming} {
		if err := ask(ctx); err != nil {
			return err
		}
		if err := b.hub.settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) infoPictures(ctx context.Context) error {
	picture, err := os.ReadFile(filepath.Join(b.media, "frame.jpg"))
	if err != nil {
		return err
	}
	var times stages
	for i := range pictures + 5 {
		begin := time.Now()
		t, err := b.detect(ctx, picture)
		if err != nil {
			return err
		}
		if i >= 5 { // connections, memory
			times.add(t, time.Since(begin))
		}
	}
	b.out.table("", times.rows(fmt.Sprintf("POST /detect, %d pictures one after another, ms", pictures), "answer", 0.99))
	return nil
}

// stages are the timings of results, and what the client saw.
type stages struct {
	receive, decode, queue, infer, total, client sample
}

func (s *stages) add(t wire.Timing, client time.Duration) {
	s.receive.addMS(time.Duration(t.Receive))
	s.decode.addMS(time.Duration(t.Decode))
	s.queue.addMS(time.Duration(t.Queue))
	s.infer.addMS(time.Duration(t.Infer))
	s.total.addMS(time.Duration(t.Total))
	if client > 0 {
		s.client.addMS(client)
	}
}

func (s *stages) rows(title, client string, high float64) [][]string {
	rows := [][]string{{title, "p50", fmt.Sprintf("p%.0f", 100*high)}}
	for _, stage := range []struct {
		name string
		s    sample
	}{{"receive", s.receive}, {"decode", s.decode}, {"queue", s.queue}, {"infer", s.infer}, {"total", s.total}, {client, s.client}} {
		if len(stage.s) > 0 {
			rows = append(rows, []string{stage.name, fmt.Sprintf("%.1f", stage.s.median()), fmt.Sprintf("%.1f", stage.s.quantile(high))})
		}
	}
	return rows
}

func (b *bench) detect(ctx context.Context, picture []byte) (wire.Timing, error) {
	var answer wire.Picture
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.hub.url+"/detect", bytes.NewReader(picture))
	if err != nil {
		return answer.Timing, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer.Timing, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("POST /detect: %s: %.200s", resp.Status, text)
	default:
		err = json.Unmarshal(text, &answer)
	}
	return answer.Timing, err
}

// infoTiming is where the time of results goes when the upload takes as long as the video.
func (b *bench) infoTiming(ctx context.Context) error {
	c, err := b.clip("people.mp4")
	if err != nil {
		return err
	}
	s, err := webSocket.open(b.hub, ctx, wire.Start{})
	if err != nil {
		return err
	}
	defer s.stop()
	fed := make(chan error, 1)
	go func() { fed <- (&pacer{rate: c.rate()}).run(ctx, s, c.bytes) }()
	var times stages
	for m := range s.messages {
		if m.Type == wire.TypeDetections {
			times.add(m.Timing, 0)
		}
	}
	if err := errors.Join(<-fed, s.err); err != nil {
		return err
	}
	b.out.table("", times.rows(fmt.Sprintf("%s at its own rate, %d results, ms", c.name, len(times.total)), "", 0.95))
	return nil
}

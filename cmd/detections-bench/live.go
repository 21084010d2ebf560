//go:build cgo

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/session/rtc/rtctest"
	"detections/session/wire"
)

// The clips are of 640×480 pixels and 30 pictures a second.
var liveClips = []string{"live-baseline.h264", "live-vp8.ivf"}

const (
	livePeriod = time.Second / 30
	// The targets.
	firstBox   = 1500 * time.Millisecond
	typicalAdd = 30 * time.Millisecond // beyond decoding and one inference, p50
	worstAdd   = 60 * time.Millisecond // beyond decoding and two, p99
	recovery   = 500 * time.Millisecond
	cpuRatio   = 1.3
	lossFrames = 300
	liveTime   = 12 * time.Second
)

// result is what is used here of a message on the data channel.
type result struct {
	Type       wire.Type
	RTP        uint32 `json:"rtp_ts"`
	Detections []struct{ Label string }
	Timing     wire.Timing
	at         time.Time
}

// publish begins a live session with a clip of the test media.
func (b *bench) publish(ctx context.Context, name, query string, e webrtc.SettingEngine) (*rtctest.Publisher, error) {
	clip, err := rtctest.Open(filepath.Join(b.media, name))
	if err != nil {
		return nil, err
	}
	e.SetIncludeLoopbackCandidate(true)
	return rtctest.Publish(ctx, rtctest.Options{URL: b.hub.url + "/v1/whip" + query, Clip: clip, Interval: livePeriod, Settings: e})
}

// await is the next result on the channel.
func await(ctx context.Context, pub *rtctest.Publisher) (r result, err error) {
	for {
		select {
		case m := <-pub.Messages:
			if err := json.Unmarshal(m.Data, &r); err != nil {
				return r, err
			}
			if r.Type == wire.TypeDetections {
				r.at = m.At
				return r, nil
			}
		case <-ctx.Done():
			return r, fmt.Errorf("waiting for a result: %w", ctx.Err())
		}
	}
}

// finish ends the session of a publisher.
func (b *bench) finish(ctx context.Context, pub *rtctest.Publisher) error {
	err := pub.Delete()
	pub.Close()
	return errors.Join(err, b.hub.settled(ctx))
}

// liveFirst: how long the first box takes.
func (b *bench) liveFirst(ctx context.Context) error {
	rows := [][]string{{"first box, ms after the WHIP POST", "POST → box", "target", ""}}
	for _, name := range liveClips {
		var took sample
		for range b.reps {
			pub, err := b.publish(ctx, name, "", webrtc.SettingEngine{})
			if err != nil {
				return err
			}
			for {
				r, err := await(ctx, pub)
				if err != nil {
					return err
				}
				if len(r.Detections) > 0 {
					took.addMS(r.at.Sub(pub.Posted))
					break
				}
			}
			if err := b.finish(ctx, pub); err != nil {
				return err
			}
		}
		rows = append(rows, []string{name, took.show("%.0f"), fmt.Sprintf("≤ %d", firstBox.Milliseconds()), verdict(took.quantile(1) <= ms(firstBox))})
	}
	b.out.table(fmt.Sprintf("LIVE, FIRST BOX: ICE, DTLS, first key frame, inference; loopback, %d times", b.reps), rows)
	return nil
}

// liveLatency: from the moment a frame is sent to its box, at half the engines' load.
func (b *bench) liveLatency(ctx context.Context) error {
	rows := [][]string{{"ms", "fps inferred", "p50", "target", "", "p99", "target", "", "decode", "infer", "p50 of: there and back", "jitter buffer", "decode, scale, log", "queue", "infer"}}
	for _, name := range liveClips {
		cost, err := b.cost(name, liveSample(0))
		if err != nil {
			return err
		}
		infer, err := b.inferAlone(ctx, name)
		if err != nil {
			return err
		}
		fps := min(15, max(1, 500/infer)) // of one engine's time a half
		got, err := b.watchLive(ctx, name, fmt.Sprintf("?fps=%.3f", fps))
		if err != nil {
			return err
		}
		decode := ms(cost.PerFrame())
		p50, p99 := decode+infer+ms(typicalAdd), decode+2*infer+ms(worstAdd)
		rows = append(rows, []string{
			name, fmt.Sprintf("%.1f", fps), fmt.Sprintf("%.0f", got.all.median()), fmt.Sprintf("≤ %.0f", p50), verdict(got.all.median() <= p50),
			fmt.Sprintf("%.0f", got.all.quantile(0.99)), fmt.Sprintf("≤ %.0f", p99), verdict(got.all.quantile(0.99) <= p99),
			fmt.Sprintf("%.1f", decode), fmt.Sprintf("%.1f", infer),
			fmt.Sprintf("%.1f", got.way.median()), fmt.Sprintf("%.1f", got.jitter.median()), fmt.Sprintf("%.1f", got.rest.median()), fmt.Sprintf("%.1f", got.queue.median()), fmt.Sprintf("%.1f", got.infer.median()),
		})
	}
	b.out.table("LIVE, CAPTURE → BOX: 640×480 at 30 fps over loopback, one session, half load of one engine", rows)
	b.out.line("  capture: the frame is handed to the sender; box: its result has come out of the data channel. p50 ≤ decode + infer + %d, p99 ≤ decode + 2 × infer + %d.\n"+
		"  decode: one picture, decoded and scaled, alone; infer: median without other load. The stages of a result add up to its latency.",
		typicalAdd.Milliseconds(), worstAdd.Milliseconds())
	return nil
}

// inferAlone is the median time of inferring one picture now and then.
func (b *bench) inferAlone(ctx context.Context, name string) (float64, error) {
	got, err := b.watchLive(ctx, name, "?fps=4")
	return got.infer.median(), err
}

// liveStages are where the time of results went, in ms.
type liveStages struct{ all, way, jitter, rest, queue, infer sample }

// watchLive publishes a clip for a while and reads its results.
func (b *bench) watchLive(ctx context.Context, name, query string) (s liveStages, err error) {
	pub, err := b.publish(ctx, name, query, webrtc.SettingEngine{})
	if err != nil {
		return s, err
	}
	for begun := time.Now(); time.Since(begun) < liveTime; {
		r, err := await(ctx, pub)
		if err != nil {
			return s, err
		}
		if time.Since(begun) < time.Second {
			continue // the connection is young
		}
		took, t := r.at.Sub(pub.SentAt(r.RTP)), r.Timing
		s.all.addMS(took)
		s.way.addMS(took - time.Duration(t.Total))
		s.rest.addMS(time.Duration(t.Total - t.Queue - t.Infer - t.Jitter))
		s.jitter.addMS(time.Duration(t.Jitter))
		s.queue.addMS(time.Duration(t.Queue))
		s.infer.addMS(time.Duration(t.Infer))
	}
	return s, b.finish(ctx, pub)
}

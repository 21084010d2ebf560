//go:build cgo

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"detections/hub/timeline"
	"detections/infer"
	"detections/session/wire"
)

const (
	appendTime    = time.Second // of each way of storing and number of writers, each repetition
	catchUpEvents = 100_000
	sizeEvents    = 50_000
	sizeSessions  = 1_000
	liveRate      = 500 // events per second of the session that goes on meanwhile

	catchUpTarget = 50_000 // events per second
	liveTarget    = 2.0    // how much later than alone a live reader is told, p99
	openTarget    = 2 * time.Second
	eventTarget   = 1.3 // stored bytes of an event, against its JSON
	idleTarget    = 4 << 10
)

// writeCounts are how many sessions are written to at the same time.
var writeCounts = []int{1, 20, 64}

// timelines measures the store of events; it needs no hub.
func (b *bench) timelines(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "detections-bench-timeline-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, part := range []func(context.Context, string) error{b.appends, b.catchUp, b.stored} {
		if err := part(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// someEvents are events as a session makes them, with what their replay needs.
func someEvents(n int) []timeline.Record {
	r := rand.New(rand.NewPCG(1, 1))
	model := &infer.Model{Name: "yolox-nano"}
	recs := make([]timeline.Record, n)
	for i := range recs {
		found := make([]infer.Detection, r.IntN(7))
		for d := range found {
			found[d] = infer.Detection{
				Class: r.IntN(80), Confidence: r.Float32(),
				Box: infer.Box{X: r.Float32() * 1900, Y: r.Float32() * 1000, W: r.Float32() * 500, H: r.Float32() * 500},
			}
		}
		m := &wire.Detections{
			Type: wire.TypeDetections, Offset: uint64(i) + 1, Frame: int64(i) * 15, PTS: wire.Millis(i) * wire.Millis(500*time.Millisecond),
			Width: 1920, Height: 1080, Detections: wire.NewDetections(model, found), Model: model.Name,
			Timing: wire.Timing{Queue: wire.Millis(r.IntN(1e7)), Infer: wire.Millis(r.IntN(5e7))},
		}
		recs[i].Event = m.Event(uint64(i) + 1)
		for range 8 { // checkpoint and counters
			recs[i].Replay = binary.AppendUvarint(recs[i].Replay, uint64(r.IntN(1<<18)))
		}
	}
	return recs
}

// begin adds a session to a store and takes it over.
func begin(ctx context.Context, s timeline.Store, id string) error {
	start := fmt.Appendf(nil, `{"mode":"file","sample":{"fps":2},"detect":{"threshold":0.25,"iou":0.45},"id":%q}`, id)
	if err := s.Create(ctx, timeline.Meta{ID: id, Principal: "local", Epoch: "5f2c0a1be8d7", Created: time.Now(), Start: start}); err != nil {
		return err
	}
	_, err := s.Acquire(ctx, id)
	return err
}

// write appends records to a new session, several at a time.
func write(ctx context.Context, s timeline.Store, id string, recs []timeline.Record) error {
	if err := begin(ctx, s, id); err != nil {
		return err
	}
	for at := 0; at < len(recs); at += 64 {
		if err := s.Append(ctx, id, 1, uint64(at), recs[at:min(at+64, len(recs))]...); err != nil {
			return err
		}
	}
	return nil
}

// appends compares the ways to store with each other and with the disk alone.
func (b *bench) appends(ctx context.Context, dir string) error {
	rows := [][]string{{"appending one event at a time", "sessions", "events/s", "p50, ms", "p99, ms"}}
	recs := someEvents(1000)
	bare := &appendRun{}
	for range b.reps {
		if err := bare.disk(dir, recs); err != nil {
			return err
		}
	}
	rows = append(rows, bare.row("write and sync of a file, no store", 1))
	for _, n := range writeCounts {
		runs := map[string]*appendRun{}
		for range b.reps { // interleaved
			for _, how := range []string{"memory", "interval", "always"} {
				if runs[how] == nil {
					runs[how] = &appendRun{}
				}
				if err := runs[how].store(ctx, filepath.Join(dir, "append"), how, n, recs); err != nil {
					return err
				}
			}
		}
		for _, how := range []string{"memory", "interval", "always"} {
			rows = append(rows, runs[how].row("sync: "+how, n))
		}
	}
	b.out.table("TIMELINE: APPEND", rows)
	return nil
}

// appendRun is what repetitions of one way to append gave.
type appendRun struct {
	mu        sync.Mutex
	rate      sample
	latencies sample // of all repetitions, ms
	counted   int    // in this repetition
}

func (r *appendRun) row(name string, n int) []string {
	return []string{name, fmt.Sprint(n), r.rate.show("%.0f"), fmt.Sprintf("%.3f", r.latencies.median()), fmt.Sprintf("%.3f", r.latencies.quantile(0.99))}
}

// writer appends until the time is over.
func (r *appendRun) writer(recs []timeline.Record, one func(i uint64, r timeline.Record) error) error {
	var own sample
	var err error
	end := time.Now().Add(appendTime)
	for i := uint64(0); err == nil; i++ {
		before := time.Now()
		if before.After(end) {
			break
		}
		rec := recs[i%uint64(len(recs))]
		rec.Offset = i + 1
		err = one(i, rec)
		own.addMS(time.Since(before))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counted += len(own)
	r.latencies = append(r.latencies, own...)
	return err
}

func (r *appendRun) disk(dir string, recs []timeline.Record) error {
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		return err
	}
	r.counted = 0
	err = r.writer(recs, func(_ uint64, rec timeline.Record) error {
		_, err := f.Write(rec.Message)
		return errors.Join(err, f.Sync())
	})
	r.rate.add(float64(r.counted) / appendTime.Seconds())
	return errors.Join(err, f.Close())
}

// newStore opens a store of a kind: memory, interval or always.
func newStore(dir, kind string) (timeline.Store, error) {
	switch kind {
	case "memory":
		return timeline.NewMemory(), nil
	case "always":
		return timeline.OpenPebble(dir, timeline.Options{Sync: timeline.Always})
	default:
		return timeline.OpenPebble(dir, timeline.Options{Sync: timeline.Interval})
	}
}

func (r *appendRun) store(ctx context.Context, dir, kind string, n int, recs []timeline.Record) (err error) {
	s, err := newStore(dir, kind)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(), os.RemoveAll(dir)) }()
	r.counted = 0
	errs := make([]error, n)
	for w := range n {
		if err := begin(ctx, s, fmt.Sprint(w)); err != nil {
			return err
		}
	}
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			id := fmt.Sprint(w)
			errs[w] = r.writer(recs, func(i uint64, rec timeline.Record) error { return s.Append(ctx, id, 1, i, rec) })
		})
	}
	wg.Wait()
	r.rate.add(float64(r.counted) / appendTime.Seconds())
	return errors.Join(errs...)
}

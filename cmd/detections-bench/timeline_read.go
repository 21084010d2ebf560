//go:build cgo

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"detections/hub/timeline"
)

// catchUp lets a reader come from far behind while another session goes on.
func (b *bench) catchUp(ctx context.Context, dir string) (err error) {
	dir = filepath.Join(dir, "catchup")
	s, err := newStore(dir, "interval")
	if err != nil {
		return err
	}
	if err := errors.Join(write(ctx, s, "past", someEvents(catchUpEvents)), s.Close()); err != nil {
		return err
	}
	if s, err = newStore(dir, "interval"); err != nil {
		return err
	}
	l := timeline.New(s)
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := begin(ctx, s, "live"); err != nil {
		return err
	}
	live := newLive(l)
	defer func() { err = errors.Join(err, live.stop()) }()
	var rate, alone, paced, flat sample
	for range b.reps {
		live.mark()
		time.Sleep(time.Second)
		alone.add(live.mark().quantile(0.99))
		if _, err := readAll(ctx, l, "past", catchUpTarget); err != nil {
			return err
		}
		paced.add(live.mark().quantile(0.99))
		for range 8 { // long enough for a quantile
			took, err := readAll(ctx, l, "past", 0)
			if err != nil {
				return err
			}
			rate.add(catchUpEvents / took.Seconds())
		}
		flat.add(live.mark().quantile(0.99))
	}
	ratio := paced.median() / alone.median()
	b.out.table("TIMELINE: CATCH-UP", [][]string{
		{fmt.Sprintf("a reader %d events behind", catchUpEvents), "", "target", ""},
		{"events/s, as fast as it goes", rate.show("%.0f"), fmt.Sprintf("≥ %d", catchUpTarget), verdict(rate.median() >= catchUpTarget)},
		{"another session's reader is told after, p99 ms, alone", alone.show("%.2f"), "", ""},
		{fmt.Sprintf("the same beside a reader at %d events/s", catchUpTarget), paced.show("%.2f"), fmt.Sprintf("≤ %.0f ×", liveTarget), verdict(ratio <= liveTarget)},
		{"the same beside a reader as fast as it goes, which takes a core", flat.show("%.2f"), "", ""},
	})
	return nil
}

// readAll reads catchUpEvents events, at a rate per second; 0 is as fast as it goes.
func readAll(ctx context.Context, l *timeline.Log, id string, rate uint64) (time.Duration, error) {
	begin := time.Now()
	r, err := l.Follow(ctx, id, 0)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for at := uint64(0); at < catchUpEvents; {
		events, _, err := r.Poll(ctx)
		if err != nil || len(events) == 0 || events[0].Offset != at+1 {
			return 0, fmt.Errorf("read after %d: %d events, %w", at, len(events), cmp.Or(err, io.ErrUnexpectedEOF))
		}
		at = events[len(events)-1].Offset
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Second * time.Duration(at) / time.Duration(rate))))
		}
	}
	return time.Since(begin), nil
}

// live is a session with a writer and a reader.
type live struct {
	log  *timeline.Log
	done chan struct{}
	wg   sync.WaitGroup
	errs [2]error

	mu   sync.Mutex
	told sample               // ms from append to reader
	sent map[uint64]time.Time // when an event's append began
}

func newLive(l *timeline.Log) *live {
	v := &live{log: l, done: make(chan struct{}), sent: map[uint64]time.Time{}}
	v.wg.Go(func() { v.errs[0] = v.write() })
	v.wg.Go(func() { v.errs[1] = v.read() })
	return v
}

func (v *live) stop() error {
	close(v.done)
	v.wg.Wait()
	return errors.Join(v.errs[:]...)
}

// mark returns what was told since the last mark.
func (v *live) mark() sample {
	v.mu.Lock()
	defer v.mu.Unlock()
	told := v.told
	v.told = nil
	return told
}

func (v *live) write() error {
	w, st, err := v.log.Acquire(context.Background(), "live")
	if err != nil {
		return err
	}
	defer w.Close()
	recs := someEvents(1000)
	tick := time.NewTicker(time.Second / liveRate)
	defer tick.Stop()
	for at := st.Offset; ; at++ {
		select {
		case <-v.done:
			return nil
		case <-tick.C:
		}
		e := recs[at%uint64(len(recs))].Event
		e.Offset = at + 1
		v.mu.Lock()
		v.sent[e.Offset] = time.Now()
		v.mu.Unlock()
		if err := w.Append(context.Background(), at, e, nil); err != nil {
			return err
		}
	}
}

func (v *live) read() error {
	r, err := v.log.Follow(context.Background(), "live", 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		events, changed, err := r.Poll(context.Background())
		if err != nil {
			return err
		}
		v.mu.Lock()
		for _, e := range events {
			v.told.addMS(time.Since(v.sent[e.Offset]))
			delete(v.sent, e.Offset)
		}
		v.mu.Unlock()
		if len(events) > 0 {
			continue
		}
		select {
		case <-v.done:
			return nil
		case <-changed:
		}
	}
}

// stored is what sessions take on disk, and how long it takes to find them again.
func (b *bench) stored(ctx context.Context, dir string) error {
	recs := someEvents(sizeEvents)
	var json int
	for _, r := range recs {
		json += len(r.Message)
	}
	events, err := tables(filepath.Join(dir, "events"), func(s timeline.Store) error { return write(ctx, s, "a", recs) })
	if err != nil {
		return err
	}
	idle, err := tables(filepath.Join(dir, "idle"), func(s timeline.Store) error {
		for i := range sizeSessions {
			if err := write(ctx, s, fmt.Sprintf("session-%021d", i), recs[:1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var opening sample
	for range b.reps {
		begin := time.Now()
		s, err := newStore(filepath.Join(dir, "idle"), "interval")
		if err != nil {
			return err
		}
		all, err := s.List(ctx, true)
		opening.addMS(time.Since(begin))
		if err = errors.Join(err, s.Close()); err != nil || len(all) != sizeSessions {
			return fmt.Errorf("%d sessions were found: %w", len(all), err)
		}
	}
	perEvent, perSession := float64(events)/sizeEvents, float64(idle)/sizeSessions
	asJSON := float64(json) / sizeEvents
	b.out.table("TIMELINE: ON DISK", [][]string{
		{"", "", "target", ""},
		{fmt.Sprintf("bytes of an event, its JSON being %.0f", asJSON), fmt.Sprintf("%.0f", perEvent), fmt.Sprintf("≤ %.1f ×", eventTarget), verdict(perEvent <= eventTarget*asJSON)},
		{"bytes of a session with one event", fmt.Sprintf("%.0f", perSession), fmt.Sprintf("≤ %d", idleTarget), verdict(perSession <= idleTarget)},
		{fmt.Sprintf("opening, and listing %d unfinished sessions, ms", sizeSessions), opening.show("%.0f"), fmt.Sprintf("≤ %d", openTarget.Milliseconds()), verdict(opening.median() <= ms(openTarget))},
	})
	return nil
}

// tables fills a store, opens it again, which writes all of the log into tables, and
// returns what those take.
func tables(dir string, fill func(timeline.Store) error) (int64, error) {
	s, err := newStore(dir, "interval")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(fill(s), s.Close()); err != nil {
		return 0, err
	}
	if s, err = newStore(dir, "interval"); err != nil {
		return 0, err
	}
	if err := s.Close(); err != nil {
		return 0, err
	}
	var total int64
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".sst") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

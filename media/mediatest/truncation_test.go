//go:build cgo

package mediatest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"detections/media"
	"detections/media/mediatest"
	"detections/media/worker"
)

// cutAt is how many bytes lie between the places at which a file is cut. make test
// looks at a few; CUT=1024 go test -run Truncated ./media/mediatest at every kilobyte.
func cutAt(t *testing.T, size int64) int64 {
	if s := os.Getenv("CUT"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			t.Fatalf("CUT=%s: a number of bytes was expected", s)
		}
		return n
	}
	if testing.Short() {
		return size/2 + 1
	}
	return size/5 + 1
}

// TestTruncatedFilesHaveOneOutcome cuts a file of each container: either it gives
// the pictures that are complete, or a typed error, once, and always in time.
func TestTruncatedFilesHaveOneOutcome(t *testing.T) {
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	var seen []string
	for _, c := range mediatest.Files {
		if c.Codec == "h264" && !c.H264 || slices.Contains(seen, c.Container+c.Codec) && c.Container != media.MP4 {
			continue
		}
		seen = append(seen, c.Container+c.Codec)
		t.Run(c.Name, func(t *testing.T) {
			f, size := mediatest.Open(t, c.Name)
			cuts := make(chan int64)
			var lanes sync.WaitGroup
			outcomes := newOutcomes()
			for range runtime.NumCPU() {
				lanes.Go(func() {
					for at := range cuts {
						outcomes.cut(t, pool, f, at, int64(c.Frames))
					}
				})
			}
			for at := int64(1); at < size; at += cutAt(t, size) {
				cuts <- at
			}
			close(cuts)
			lanes.Wait()
			t.Logf("%-19s %-8s %-10s %7d bytes: %s", c.Name, c.Container, c.Codec, size, outcomes)
		})
	}
}

// outcomes are what became of a file's cuts.
type outcomes struct {
	mu      sync.Mutex     // guards what follows
	kinds   map[string]int // how many had this outcome
	slowest time.Duration
}

func newOutcomes() *outcomes { return &outcomes{kinds: map[string]int{}} }

// cut decodes the first bytes of a file and notes what became of them.
func (o *outcomes) cut(t *testing.T, pool *worker.Pool, f *os.File, at, frames int64) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	begin := time.Now()
	d, err := pool.Start(ctx, f, media.Job{Views: []media.View{{Width: 32, Height: 32}}, Sample: media.Sample{Every: 1000}})
	if err != nil {
		t.Error(err)
		return
	}
	defer d.Close()
	d.Grow(at, true)
	kind, err := outcome(ctx, d)
	took := time.Since(begin)
	never := []error{media.ErrInput, media.ErrStalled, media.ErrStarting} // would be our own failure
	if stats := d.Stats(); kind == hangs || slices.ContainsFunc(never, func(k error) bool { return errors.Is(err, k) }) || stats.Decoded > frames {
		t.Errorf("cut at %d: %v, stats %+v", at, err, stats)
	}
	if _, again := d.Next(ctx); again == nil || !errors.Is(err, io.EOF) && again.Error() != err.Error() {
		t.Errorf("cut at %d: %v, and then %v", at, err, again)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds[kind]++
	o.slowest = max(o.slowest, took)
}

func (o *outcomes) String() string {
	cuts := 0
	for _, n := range o.kinds {
		cuts += n
	}
	return fmt.Sprintf("%4d cuts, slowest %4d ms, %v", cuts, o.slowest.Milliseconds(), o.kinds)
}

const hangs = "hangs"

// outcome reads a decoder to its end and names what became of it.
func outcome(ctx context.Context, d media.Decoder) (string, error) {
	for {
		o, err := d.Next(ctx)
		var e *media.Error
		switch {
		case err == nil:
			if o.Frame != nil {
				o.Frame.Release()
			}
		case errors.As(err, &e):
			return e.Kind.Error(), err
		case errors.Is(err, io.EOF):
			return "its pictures", err
		default:
			return hangs, err
		}
	}
}

//go:build cgo

package mediatest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
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
// the pictures that are complete, or a typed error, and always in time.
func TestTruncatedFilesHaveOneOutcome(t *testing.T) {
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	job := media.Job{Views: []media.View{{Width: 32, Height: 32}}, Sample: media.Sample{Every: 1000}}
	never := []error{media.ErrInput, media.ErrStalled, media.ErrStarting} // would be our own failure
	var seen []string
	for _, c := range mediatest.Files {
		if c.Codec == "h264" && !c.H264 || slices.Contains(seen, c.Container+c.Codec) && c.Container != media.MP4 {
			continue
		}
		seen = append(seen, c.Container+c.Codec)
		f, size := mediatest.Open(t, c.Name)
		outcomes := map[string]int{}
		for at := int64(1); at < size; at += cutAt(t, size) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			d, err := pool.Start(ctx, f, job)
			if err != nil {
				t.Fatal(err)
			}
			d.Grow(at, true)
			kind, err := outcome(ctx, d)
			if stats := d.Stats(); kind == hangs || slices.ContainsFunc(never, func(k error) bool { return errors.Is(err, k) }) || stats.Decoded > int64(c.Frames) {
				t.Errorf("%s cut at %d: %v, stats %+v", c.Name, at, err, stats)
			}
			outcomes[kind]++
			d.Close()
			cancel()
		}
		t.Logf("%-20s %7d bytes: %v", c.Name, size, outcomes)
	}
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
			return "its pictures", nil
		default:
			return hangs, err
		}
	}
}

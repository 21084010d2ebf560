package timeline_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"detections/hub/timeline"
	"detections/hub/timeline/timelinetest"
	"detections/session/wire"
)

func TestMemory(t *testing.T) {
	timelinetest.Run(t, func(*testing.T) timeline.Store { return timeline.NewMemory() }, nil)
}

func begin(t *testing.T) (*timeline.Log, *timeline.Writer) {
	t.Helper()
	l := timeline.New(timeline.NewMemory())
	if err := l.Store().Create(t.Context(), timeline.Meta{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	w, _, err := l.Acquire(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	return l, w
}

func write(t *testing.T, w *timeline.Writer, from, to uint64) {
	t.Helper()
	for o := from; o <= to; o++ {
		if err := w.Append(t.Context(), o-1, timelinetest.Rec(o, wire.TypeDetections).Event, nil); err != nil {
			t.Error(err)
			return
		}
	}
}

// read polls until EOF and checks that offsets follow each other without a gap.
func read(ctx context.Context, t *testing.T, r *timeline.Reader, after uint64) uint64 {
	for {
		events, changed, err := r.Poll(ctx)
		for _, e := range events {
			if e.Offset != after+1 {
				t.Errorf("event %d after %d", e.Offset, after)
			}
			after = e.Offset
		}
		switch {
		case errors.Is(err, io.EOF):
			return after
		case err != nil:
			t.Error(err)
			return after
		case len(events) == 0:
			<-changed
		}
	}
}

func TestReadersAnywhereSeeEveryEventOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := begin(t)
		write(t, w, 1, 1000)
		var wg sync.WaitGroup
		for _, after := range []uint64{0, 1, 400, 744, 745, 999, 1000} {
			r, err := l.Follow(t.Context(), "s", after)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer r.Close()
				if last := read(t.Context(), t, r, after); last != 3001 {
					t.Errorf("reader after %d stopped at %d", after, last)
				}
			})
		}
		write(t, w, 1001, 3000)
		if err := w.Append(t.Context(), 3000, timelinetest.Rec(3001, wire.TypeEnd).Event, nil); err != nil {
			t.Fatal(err)
		}
		w.Close()
		wg.Wait()
	})
}

func TestReaderOfAnEndedSessionGetsEverythingFromTheStore(t *testing.T) {
	l, w := begin(t)
	write(t, w, 1, 300)
	if err := w.Append(t.Context(), 300, timelinetest.Rec(301, wire.TypeEnd).Event, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r, err := l.Follow(t.Context(), "s", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if last := read(t.Context(), t, r, 0); last != 301 {
		t.Errorf("stopped at %d", last)
	}
}

func TestReaderThatCameBeforeTheWriter(t *testing.T) {
	l := timeline.New(timeline.NewMemory())
	if err := l.Store().Create(t.Context(), timeline.Meta{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	r, err := l.Follow(t.Context(), "s", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, _, err := l.Acquire(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	write(t, w, 1, 3)
	if events, _, err := r.Poll(t.Context()); err != nil || len(events) != 3 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestDeleteWakesReaders(t *testing.T) {
	l, w := begin(t)
	r, err := l.Follow(t.Context(), "s", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, changed, _ := r.Poll(t.Context())
	if err := l.Delete(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	<-changed
	if _, _, err := r.Poll(t.Context()); !errors.Is(err, timeline.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	r.Close()
	w.Close()
}

func TestAFormerOwnersWriterIsFenced(t *testing.T) {
	l, w := begin(t)
	if _, _, err := l.Acquire(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(t.Context(), 0, timelinetest.Rec(1, wire.TypeDetections).Event, nil); !errors.Is(err, timeline.ErrFenced) {
		t.Errorf("got %v", err)
	}
}

// Package timelinetest is the suite that every timeline.Store must pass.
package timelinetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"detections/hub/timeline"
	"detections/session/wire"
)

// Run tests a store. open returns an empty one; reopen returns what an earlier one
// has become after it was closed, and is nil for a store that does not outlive that.
func Run(t *testing.T, open func(t *testing.T) timeline.Store, reopen func(*testing.T, timeline.Store) timeline.Store) {
	if reopen != nil {
		t.Run("everything is there after it was closed and opened", func(t *testing.T) { survives(t, open(t), reopen) })
	}
	for name, test := range map[string]func(*testing.T, timeline.Store){
		"create twice is refused":                      createTwice,
		"unknown sessions are ErrUnknown":              unknown,
		"records are read back in order and in parts":  readBack,
		"append needs the expected offset":             expectedOffset,
		"append is all or nothing":                     allOrNothing,
		"nothing follows the end":                      nothingAfterEnd,
		"a former owner can neither append nor commit": fenced,
		"committed bytes never shrink":                 commit,
		"deliveries only go forward":                   deliver,
		"the bytes of records are counted":             size,
		"list gives the unfinished, oldest first":      list,
		"delete forgets":                               forget,
		"one of many concurrent appends wins":          concurrent,
		"closed is ErrClosed":                          closed,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test(t, s)
		})
	}
}

// Rec makes a record with an offset and a recognisable message.
func Rec(offset uint64, typ wire.Type) timeline.Record {
	return timeline.Record{
		Event:  wire.Event{Offset: offset, Type: typ, Empty: offset%2 == 0, Message: fmt.Appendf(nil, `{"offset":%d}`, offset)},
		Replay: fmt.Appendf(nil, "replay %d", offset),
	}
}

func begin(t *testing.T, s timeline.Store, id string) uint64 {
	t.Helper()
	must(t, s.Create(t.Context(), timeline.Meta{ID: id, Principal: "local", Epoch: "e", Created: time.Unix(1, 0), Start: []byte("{}")}))
	st, err := s.Acquire(t.Context(), id)
	must(t, err)
	return st.Term
}

func createTwice(t *testing.T, s timeline.Store) {
	begin(t, s, "a")
	want(t, s.Create(t.Context(), timeline.Meta{ID: "a"}), timeline.ErrExists)
	st, err := s.Status(t.Context(), "a")
	must(t, err)
	if st.Principal != "local" || st.Epoch != "e" || !st.Created.Equal(time.Unix(1, 0)) || string(st.Start) != "{}" || st.Offset != 0 || st.Ended {
		t.Errorf("status %+v", st)
	}
}

func unknown(t *testing.T, s timeline.Store) {
	ctx := t.Context()
	_, err := s.Acquire(ctx, "x")
	want(t, err, timeline.ErrUnknown)
	_, err = s.Status(ctx, "x")
	want(t, err, timeline.ErrUnknown)
	_, err = s.Read(ctx, "x", 0, 1)
	want(t, err, timeline.ErrUnknown)
	want(t, s.Append(ctx, "x", 1, 0, Rec(1, wire.TypeDetections)), timeline.ErrUnknown)
	want(t, s.Commit(ctx, "x", 1, bytes(1)), timeline.ErrUnknown)
	want(t, s.Deliver(ctx, "x", 1), timeline.ErrUnknown)
	must(t, s.Delete(ctx, "x"))
}

func readBack(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	must(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeConfigured)))
	must(t, s.Append(ctx, "a", term, 1, Rec(2, wire.TypeDetections), Rec(3, wire.TypeDetections)))
	must(t, s.Append(ctx, "a", term, 3))
	for after, limit := range map[uint64]int{0: 2, 1: 2, 2: 9, 3: 1, 7: 1} {
		got, err := s.Read(ctx, "a", after, limit)
		must(t, err)
		if n := max(0, min(limit, 3-int(after))); len(got) != n {
			t.Fatalf("after %d, limit %d: %d records, want %d", after, limit, len(got), n)
		}
		for i, r := range got {
			w := Rec(after+1+uint64(i), r.Type)
			if r.Offset != w.Offset || r.Empty != w.Empty || string(r.Message) != string(w.Message) || string(r.Replay) != string(w.Replay) {
				t.Errorf("got %+v, want %+v", r, w)
			}
		}
	}
}

func expectedOffset(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	want(t, s.Append(ctx, "a", term, 1, Rec(2, wire.TypeDetections)), timeline.ErrOffset)
	must(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeDetections)))
	want(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeDetections)), timeline.ErrOffset)
	want(t, s.Append(ctx, "a", term, 1, Rec(7, wire.TypeDetections)), timeline.ErrOffset)
}

func allOrNothing(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	want(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeDetections), Rec(3, wire.TypeDetections)), timeline.ErrOffset)
	want(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeEnd), Rec(2, wire.TypeDetections)), timeline.ErrEnded)
	if st, err := s.Status(ctx, "a"); err != nil || st.Offset != 0 || st.Ended {
		t.Errorf("status %+v, %v: something was added", st, err)
	}
}

func nothingAfterEnd(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	must(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeEnd)))
	want(t, s.Append(ctx, "a", term, 1, Rec(2, wire.TypeDetections)), timeline.ErrEnded)
}

func fenced(t *testing.T, s timeline.Store) {
	ctx, old := t.Context(), begin(t, s, "a")
	must(t, s.Append(ctx, "a", old, 0, Rec(1, wire.TypeDetections)))
	must(t, s.Commit(ctx, "a", old, bytes(10)))
	st, err := s.Acquire(ctx, "a")
	must(t, err)
	if st.Term <= old || st.Offset != 1 || st.Input != bytes(10) {
		t.Fatalf("taken over as %+v", st)
	}
	want(t, s.Append(ctx, "a", old, 1, Rec(2, wire.TypeDetections)), timeline.ErrFenced)
	want(t, s.Commit(ctx, "a", old, bytes(20)), timeline.ErrFenced)
	must(t, s.Append(ctx, "a", st.Term, 1, Rec(2, wire.TypeDetections)))
}

func commit(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	must(t, s.Commit(ctx, "a", term, bytes(100)))
	must(t, s.Commit(ctx, "a", term, bytes(100)))
	want(t, s.Commit(ctx, "a", term, bytes(99)), timeline.ErrShrink)
	all := timeline.Input{Bytes: 100, Final: true}
	must(t, s.Commit(ctx, "a", term, all))
	must(t, s.Commit(ctx, "a", term, all))
	want(t, s.Commit(ctx, "a", term, bytes(100)), timeline.ErrShrink)
	want(t, s.Commit(ctx, "a", term, timeline.Input{Bytes: 101, Final: true}), timeline.ErrShrink)
	if st, err := s.Status(ctx, "a"); err != nil || st.Input != all {
		t.Errorf("status %+v, %v", st, err)
	}
}

func bytes(n int64) timeline.Input { return timeline.Input{Bytes: n} }

func deliver(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	for i := range uint64(3) {
		must(t, s.Append(ctx, "a", term, i, Rec(i+1, wire.TypeDetections)))
	}
	for _, to := range []uint64{2, 1} {
		must(t, s.Deliver(ctx, "a", to))
		if st, err := s.Status(ctx, "a"); err != nil || st.Delivered != 2 {
			t.Errorf("delivered up to %d: %+v, %v", to, st, err)
		}
	}
}

func size(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	must(t, s.Append(ctx, "a", term, 0, Rec(1, wire.TypeDetections), Rec(2, wire.TypeDetections)))
	a, b := Rec(1, ""), Rec(2, "")
	want := int64(len(a.Message) + len(a.Replay) + len(b.Message) + len(b.Replay))
	if st, err := s.Status(ctx, "a"); err != nil || st.Bytes != want {
		t.Errorf("%d bytes, want %d: %v", st.Bytes, want, err)
	}
}

func list(t *testing.T, s timeline.Store) {
	ctx := t.Context()
	for i, id := range []string{"c", "a", "b"} {
		must(t, s.Create(ctx, timeline.Meta{ID: id, Created: time.Unix(int64(i), 0)}))
	}
	st, err := s.Acquire(ctx, "a")
	must(t, err)
	must(t, s.Append(ctx, "a", st.Term, 0, Rec(1, wire.TypeEnd)))
	for unfinished, want := range map[bool]string{false: "cab", true: "cb"} {
		all, err := s.List(ctx, unfinished)
		must(t, err)
		var got strings.Builder
		for _, st := range all {
			got.WriteString(st.ID)
		}
		if got.String() != want {
			t.Errorf("unfinished %v: %s, want %s", unfinished, got.String(), want)
		}
	}
}

func forget(t *testing.T, s timeline.Store) {
	ctx := t.Context()
	begin(t, s, "a")
	must(t, s.Delete(ctx, "a"))
	_, err := s.Status(ctx, "a")
	want(t, err, timeline.ErrUnknown)
	begin(t, s, "a")
}

func concurrent(t *testing.T, s timeline.Store) {
	ctx, term := t.Context(), begin(t, s, "a")
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		wg.Go(func() {
			err := s.Append(ctx, "a", term, 0, Rec(1, wire.TypeDetections))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, timeline.ErrOffset) {
				t.Errorf("unexpected %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d appends at the same offset succeeded", won)
	}
}

func closed(t *testing.T, s timeline.Store) {
	begin(t, s, "a")
	must(t, s.Close())
	_, err := s.Status(t.Context(), "a")
	want(t, err, timeline.ErrClosed)
	want(t, s.Create(t.Context(), timeline.Meta{ID: "b"}), timeline.ErrClosed)
}

func survives(t *testing.T, s timeline.Store, reopen func(*testing.T, timeline.Store) timeline.Store) {
	ctx := t.Context()
	old := begin(t, s, "a")
	owner, err := s.Acquire(ctx, "a")
	must(t, err)
	for i := range uint64(300) {
		must(t, s.Append(ctx, "a", owner.Term, i, Rec(i+1, wire.TypeDetections)))
	}
	must(t, s.Append(ctx, "a", owner.Term, 300, Rec(301, "of a type unheard of")))
	must(t, s.Commit(ctx, "a", owner.Term, timeline.Input{Bytes: 1 << 40, Final: true}))
	must(t, s.Deliver(ctx, "a", 299))
	ended := begin(t, s, "ended")
	must(t, s.Append(ctx, "ended", ended, 0, Rec(1, wire.TypeEnd)))
	must(t, s.Deliver(ctx, "ended", 1))
	begin(t, s, "deleted")
	must(t, s.Delete(ctx, "deleted"))
	must(t, s.Create(ctx, timeline.Meta{ID: "fresh"}))
	before, err := s.List(ctx, false)
	must(t, err)
	events, err := s.Read(ctx, "a", 0, 1000)
	must(t, err)

	must(t, s.Close())
	s = reopen(t, s)
	t.Cleanup(func() { _ = s.Close() })
	after, err := s.List(ctx, false)
	must(t, err)
	if !slices.Equal(printed(before), printed(after)) {
		t.Errorf("before:\n%+v\nafter:\n%+v", before, after)
	}
	again, err := s.Read(ctx, "a", 0, 1000)
	must(t, err)
	if len(again) != 301 || fmt.Sprintf("%+v", events) != fmt.Sprintf("%+v", again) {
		t.Errorf("%d records were read before, %d after", len(events), len(again))
	}

	want(t, s.Append(ctx, "a", old, 301, Rec(302, wire.TypeDetections)), timeline.ErrFenced)
	must(t, s.Append(ctx, "a", owner.Term, 301, Rec(302, wire.TypeDetections)))
	next, err := s.Acquire(ctx, "a")
	must(t, err)
	if next.Term <= owner.Term || next.Offset != 302 {
		t.Errorf("taken over as %+v", next)
	}
	want(t, s.Append(ctx, "a", owner.Term, 302, Rec(303, wire.TypeDetections)), timeline.ErrFenced)
	want(t, s.Commit(ctx, "a", next.Term, bytes(1)), timeline.ErrShrink)
	want(t, s.Append(ctx, "ended", ended, 1, Rec(2, wire.TypeDetections)), timeline.ErrEnded)
	must(t, s.Create(ctx, timeline.Meta{ID: "deleted"}))
}

// printed are sessions in words, whatever the time zone, and sorted.
func printed(all []timeline.Status) []string {
	var words []string
	for _, st := range all {
		st.Created = st.Created.UTC()
		words = append(words, fmt.Sprintf("%+v", st))
	}
	return slices.Sorted(slices.Values(words))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("got %v, want %v", err, target)
	}
}

package timeline

import (
	"bytes"
	"runtime"
	"testing"
)

// TestAReaderFromFarBehindLeavesNoGarbage reads what Read reads, of records of all
// sizes, and hardly allocates.
func TestAReaderFromFarBehindLeavesNoGarbage(t *testing.T) {
	r := newRig(t, Interval)
	defer func() { _ = r.Close() }()
	r.begin("a")
	const n = 3000
	for at := range uint64(n) {
		if err := r.add("a", at, int(at%700)); err != nil {
			t.Fatal(err)
		}
	}
	var used Scratch
	for after := uint64(0); after < n; {
		again, err := r.ReadInto(t.Context(), "a", after, readBatch, &used)
		if err != nil {
			t.Fatal(err)
		}
		want, err := r.Read(t.Context(), "a", after, readBatch)
		if err != nil || len(again) != len(want) {
			t.Fatalf("%d records, and %d again: %v", len(want), len(again), err)
		}
		for i := range want {
			if again[i].Offset != want[i].Offset || !bytes.Equal(again[i].Message, want[i].Message) || !bytes.Equal(again[i].Replay, want[i].Replay) {
				t.Fatalf("record %d is %+v again", want[i].Offset, again[i])
			}
		}
		after = want[len(want)-1].Offset
	}
	reader := Reader{log: New(r.Pebble), id: "a", tail: &tail{offset: n, changed: make(chan struct{})}, used: used}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n / readBatch {
		if events, _, err := reader.Poll(t.Context()); err != nil || len(events) == 0 {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / n; per > 300 { // without anything used again it is 750; a compaction may run meanwhile
		t.Errorf("%d bytes of garbage per event", per)
	}
}

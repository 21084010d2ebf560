package rtc

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"detections/session/wire"
)

// batches is a reader that writes each batch over the one before.
type batches struct {
	all  [][]string
	used []wire.Event
	last uint64
}

func (*batches) Close() {}

func (b *batches) Poll(context.Context) ([]wire.Event, <-chan struct{}, error) {
	if len(b.all) == 0 {
		return nil, nil, io.EOF
	}
	for i, text := range b.all[0] {
		b.last++
		kind := wire.TypeDetections
		if text[0] == 'S' {
			kind = wire.TypeSegment
		}
		b.used[i].Offset, b.used[i].Type, b.used[i].Message = b.last, kind, append(b.used[i].Message[:0], text...)
	}
	n := len(b.all[0])
	b.all = b.all[1:]
	return b.used[:n], nil, nil
}

func all(wire.Event) bool { return true }

func TestOfResultsThatGatheredTheLastIsSentAsItWas(t *testing.T) {
	f := follower{wants: all, reader: &batches{all: [][]string{{"1", "2"}, {"3"}, {"S", "4"}, {"5"}, {"6"}}, used: make([]wire.Event, 2)}}
	var sent []string
	_, _, err := f.freshest(func(e wire.Event) error { sent = append(sent, string(e.Message)); return nil })
	if want := []string{"3", "S", "6"}; !slices.Equal(sent, want) || !errors.Is(err, io.EOF) {
		t.Errorf("sent %v, not %v: %v", sent, want, err)
	}
}

func TestWhatCouldNotBeSentIsSentLater(t *testing.T) {
	f := follower{wants: all, reader: &batches{all: [][]string{{"1", "2", "3"}, {"4"}}, used: make([]wire.Event, 3)}}
	var sent []string
	fails := 2
	send := func(e wire.Event) error {
		if fails--; fails == 0 {
			return io.ErrClosedPipe
		}
		sent = append(sent, string(e.Message))
		return nil
	}
	if _, _, err := f.each(send); !errors.Is(err, io.ErrClosedPipe) || f.offset != 1 {
		t.Errorf("offset %d: %v", f.offset, err)
	}
	for err := error(nil); err == nil; {
		_, _, err = f.each(send)
	}
	if want := []string{"1", "2", "3", "4"}; !slices.Equal(sent, want) || f.offset != 4 {
		t.Errorf("sent %v, not %v, up to %d", sent, want, f.offset)
	}
}

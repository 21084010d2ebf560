package hub_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/timeline"
	"detections/session/wire"
)

func TestReadersGoOnExactlyWhereTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		c.send(video(50))
		synctest.Wait()
		var readers []client
		for seen := uint64(0); seen <= 51; seen += 17 {
			readers = append(readers,
				r.watch(wire.Watch{Session: c.Started.Session, Offset: seen}),
				r.watch(wire.Watch{Session: c.Started.Session, Epoch: c.Started.Epoch, Offset: seen}),
				r.resume(c, seen))
		}
		last := readers[len(readers)-1]
		if b := last.Started.Bytes; b != 50 {
			t.Errorf("resumed at byte %d", b)
		}
		last.upload(video(50))
		whole := c.read()
		for _, w := range readers {
			seen := w.Started.Offset
			if !w.Started.Recovered || (w.Feeder == nil) != (w.Started.Token == "") {
				t.Errorf("started %+v", w.Started)
			}
			got := w.read()
			if uint64(len(got)) != 102-seen {
				t.Fatalf("after %d: %d events", seen, len(got))
			}
			for i, e := range got {
				if !bytes.Equal(e.Message, whole[seen+uint64(i)].Message) {
					t.Errorf("after %d: event %d differs", seen, e.Offset)
				}
			}
		}
		r.close()
	})
}

func TestPositionThatIsVoidBeginsAnewAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.run(wire.Start{}, video(5)) // 7 events
		id := c.Started.Session
		for name, w := range map[string]client{
			"unknown epoch":        r.watch(wire.Watch{Session: id, Epoch: "other", Offset: 3}),
			"beyond the end":       r.watch(wire.Watch{Session: id, Offset: 8}),
			"resume beyond":        r.resume(c, 8),
			"resume without epoch": r.resume(client{t: t, Attachment: withEpoch(c, "")}, 3),
		} {
			if s := w.Started; s.Recovered || s.Offset != 0 || s.Epoch != c.Started.Epoch {
				t.Errorf("%s: started %+v", name, s)
			}
			if n := len(w.read()); n != 7 {
				t.Errorf("%s: %d events", name, n)
			}
		}
		w := r.watch(wire.Watch{Session: id, Offset: 7})
		if n := len(w.read()); n != 0 || !w.Started.Recovered {
			t.Errorf("at the end: %d events, started %+v", n, w.Started)
		}
		c.read()
		r.close()
	})
}

// slowStore makes an event visible a while before its Append returns.
type slowStore struct{ *timeline.Memory }

func (s slowStore) Append(ctx context.Context, id string, term, after uint64, recs ...timeline.Record) error {
	err := s.Memory.Append(ctx, id, term, after, recs...)
	time.Sleep(time.Second)
	return err
}

// Whoever has seen an event can go on from it, however new it is.
func TestPositionOfAnEventThatWasJustRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{store: slowStore{timeline.NewMemory()}})
		c := r.start(wire.Start{})
		c.upload(video(3))
		time.Sleep(100 * ms)
		for seen := uint64(0); ; {
			w := r.watch(wire.Watch{Session: c.Started.Session, Offset: seen})
			if !w.Started.Recovered {
				t.Errorf("event %d was read, and is unknown", seen)
				w.Reader.Close()
				break
			}
			events, changed, err := w.Reader.Poll(t.Context())
			w.Reader.Close()
			if err != nil {
				break
			}
			if len(events) > 0 {
				seen = events[len(events)-1].Offset
			} else {
				<-changed
			}
		}
		c.read()
		r.close()
	})
}

func TestReaderOfAFinishedSessionNeedsNoFeeder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.run(wire.Start{}, video(2000)) // more than a tail keeps in memory
		c.read()
		synctest.Wait()
		w := r.watch(wire.Watch{Session: c.Started.Session})
		if n := len(w.read()); n != 2002 || w.Started.Bytes != 2000 {
			t.Errorf("%d events, started %+v", n, w.Started)
		}
		r.close()
	})
}

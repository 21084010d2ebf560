package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
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
			"unknown epoch":           r.watch(wire.Watch{Session: id, Epoch: "other", Offset: 3}),
			"beyond the end":          r.watch(wire.Watch{Session: id, Offset: 8}),
			"resume beyond":           r.resume(c, 8),
			"resume of another epoch": r.resume(client{t: t, Attachment: withEpoch(c, "other")}, 3),
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

func TestPositionWithoutAnEpochIsTakenAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		c.upload(video(5))
		c.read()
		for name, back := range map[string]client{
			"watch": r.watch(wire.Watch{Session: c.Started.Session, Offset: 3}), "resume": r.resume(client{t: t, Attachment: withEpoch(c, "")}, 3),
		} {
			if n := len(back.read()); n != 4 || !back.Started.Recovered || back.Started.Offset != 3 || back.Started.Epoch != c.Started.Epoch {
				t.Errorf("%s: %d events, started %+v", name, n, back.Started)
			}
		}
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

// A client that comes back with other media than it began with is told so before
// anything of it is taken, and before it replaces anybody.
func TestOtherMediaIsNoticedByWhatOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		c := r.start(wire.Start{})
		media := video(30)
		c.send(media[:20])
		back := func(r *rig, o wire.Overlap) wire.Code {
			a, err := r.Resume(t.Context(), "me", wire.Resume{Session: c.Started.Session, Token: c.Started.Token, Epoch: c.Started.Epoch, Overlap: &o})
			if err == nil {
				a.Reader.Close()
				a.Feeder.Detach()
			}
			return code(err)
		}
		part := func(p string, from int64) wire.Overlap {
			return wire.Overlap{From: from, Bytes: int64(len(p)), SHA256: fmt.Sprintf("%X", sha256.Sum256([]byte(p)))}
		}
		for range 2 { // in the process that took them, and in the next one
			for what, got := range map[string]wire.Code{
				"another beginning": back(r, part("p"+media[1:10], 0)), "another end": back(r, part("pppx", 16)),
				"more than came": back(r, part(media[:21], 0)), "far beyond": back(r, part("p", 1<<40)),
			} {
				if got != wire.Conflict {
					t.Errorf("%s: %q", what, got)
				}
			}
			if closed(c.Feeder.Replaced()) {
				t.Error("who was refused replaced the feeder")
			}
			if got := back(r, part(media[3:20], 3)); got != "" {
				t.Errorf("the same bytes: %q", got)
			}
			c.Reader.Close()
			r = r.restarted()
			c = r.resume(c, 0)
		}
		c.upload(media[20:])
		c.read()
		if got := back(r, part("other", 0)); got != "" {
			t.Errorf("after the end, when nothing is to be sent: %q", got)
		}
		r.close()
	})
}

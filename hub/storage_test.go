package hub_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/timeline"
	"detections/session/wire"
)

// badDisk is a store whose disk can be made to fail.
type badDisk struct {
	timeline.Store
	with atomic.Pointer[error]
}

func (f *badDisk) fail(err error) { f.with.Store(&err) }

func (f *badDisk) err() error {
	if err := f.with.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *badDisk) Append(ctx context.Context, id string, term, after uint64, recs ...timeline.Record) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.Append(ctx, id, term, after, recs...)
}

func (f *badDisk) Commit(ctx context.Context, id string, term uint64, in timeline.Input) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.Commit(ctx, id, term, in)
}

func TestAFullDiskHoldsSessionsUpUntilThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &badDisk{Store: timeline.NewMemory()}
		r := open(t, options{store: store})
		c := r.start(wire.Start{})
		c.send(video(3))
		synctest.Wait()
		store.fail(timeline.ErrFull)
		c.upload(video(20))
		time.Sleep(time.Hour)
		if st := c.Session.Status(); st.End != nil || st.Acked != 3 || st.Offset != 4 {
			t.Errorf("on a full disk: %+v", st)
		}
		if why := strings.Join(r.NotReady(), "; "); !strings.Contains(why, "the disk is full") {
			t.Errorf("not ready: %q", why)
		}
		store.fail(nil)
		if end := c.end(c.read()); end.Outcome != wire.Done || end.Accounting.Inferred != 23 {
			t.Errorf("end %+v", end)
		}
		if why := r.NotReady(); len(why) != 0 {
			t.Errorf("not ready: %q", why)
		}
		r.close()
	})
}

func TestAFullDiskDoesNotHoldUpTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &badDisk{Store: timeline.NewMemory()}
		r := open(t, options{store: store})
		c := r.start(wire.Start{})
		synctest.Wait()
		store.fail(timeline.ErrFull)
		c.send(video(3))
		time.Sleep(time.Second)
		begun := time.Now()
		if left := r.Drain(t.Context()); left.Suspended != 1 || left.Stuck != 0 || time.Since(begun) > time.Second {
			t.Errorf("left %+v after %v", left, time.Since(begun))
		}
		c.Reader.Close()
		r.close()
	})
}

// What could not be written is not at its end in the log, so its media is kept for
// the next start.
func TestABrokenDiskKeepsTheMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &badDisk{Store: timeline.NewMemory()}
		r := open(t, options{store: store})
		c := r.start(wire.Start{})
		c.send(video(3))
		synctest.Wait()
		store.fail(timeline.ErrStorage)
		c.upload("ppp")
		<-c.Session.Done()
		synctest.Wait()
		if why := strings.Join(r.NotReady(), "; "); !strings.Contains(why, "cannot be written") {
			t.Errorf("not ready: %q", why)
		}
		if len(r.spooled()) != 1 {
			t.Errorf("in the spool: %v", r.spooled())
		}
		c.Reader.Close()
		must(t, r.Hub.Close())
		<-r.loaded
		must(t, r.ai.Close())
	})
}

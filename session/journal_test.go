package session_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"detections/infer/infertest"
	"detections/media/spool"
	"detections/session/wire"
)

var errDisk = errors.New("disk on fire")

// A journal that fails loses events but no frame: everything is released and
// accounted for before the session ends.
func TestJournalFailure(t *testing.T) {
	for name, c := range map[string]struct {
		from, to int  // the appends that fail
		eof      bool // all is decoded when it fails
		price    time.Duration
	}{
		"at the first event":      {from: 1, to: 1},
		"midway":                  {from: 9, to: 9, price: 10 * ms},
		"midway, and for good":    {from: 9, to: 99, price: 10 * ms},
		"after decoding":          {from: 2, to: 2, eof: true, price: time.Second},
		"while bytes are awaited": {from: 50, to: 50, price: time.Second},
		"at the end":              {from: 6, to: 6, eof: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				r := begin(t, options{
					engines: []infertest.Config{{Price: infertest.Price{Run: c.price}, MaxBatch: 1}},
					append: func(wire.Event) error {
						if calls++; c.from <= calls && calls <= c.to {
							return errDisk
						}
						return nil
					},
				})
				if c.eof {
					r.upload(video(4))
				} else {
					r.send(video(50))
				}
				err := <-r.ran
				r.close()
				if p := r.Status().Accounting.Pending; p != 0 {
					t.Errorf("%d frames are pending", p)
				}
				if st := r.Status().State; st != wire.Ended {
					t.Errorf("state %s", st)
				}
				events := r.events()
				if calls <= c.to { // the end could not be written either
					if !errors.Is(err, errDisk) {
						t.Errorf("err %v", err)
					}
					return
				}
				if end := events[len(events)-1]; err != nil || wellFormed(events) != nil || end.Outcome != wire.Failed || end.Code != wire.Internal {
					t.Errorf("end %+v, err %v, %v", end, err, wellFormed(events))
				}
			})
		})
	}
}

func TestBytesAreAcknowledgedAfterTheyAreCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		committed := make(chan int64)
		r := begin(t, options{commit: func(n int64) error { committed <- n; return nil }})
		acked := func() int64 { synctest.Wait(); return r.Status().Acked }
		r.send(video(5))
		if n := acked(); n != 0 || r.Unacked() != 5 {
			t.Errorf("acknowledged %d before the commit, unacknowledged %d", n, r.Unacked())
		}
		changed := r.Changed()
		r.send("pp") // comes too late for this commit
		if n := <-committed; n != 5 || acked() != 5 || r.Unacked() != 2 {
			t.Errorf("committed %d, acknowledged %d", n, acked())
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told")
		}
		r.send("ppp")
		r.feeder.EOF()
		go func() {
			for n := range committed {
				if n > 10 {
					t.Errorf("committed %d", n)
				}
			}
		}()
		r.finish()
		close(committed)
		if n := acked(); n != 10 {
			t.Errorf("acknowledged %d", n)
		}
	})
}

func TestCommitFailureEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, options{commit: func(n int64) error {
			if n > 5 {
				return errDisk
			}
			return nil
		}})
		r.send(video(5))
		synctest.Wait()
		r.send("p")
		if _, end := r.finish(); end.Outcome != wire.Failed || end.Code != wire.Internal || r.Status().Acked != 5 {
			t.Errorf("end %+v, acknowledged %d", end, r.Status().Acked)
		}
	})
}

// A file whose size is limited stands for a full disk.
func TestFullDiskRefusesBytesAndKeepsTheSession(t *testing.T) {
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = 10
	synctest.Test(t, func(t *testing.T) {
		s, err := spool.Create(filepath.Join(t.TempDir(), "a.media"))
		must(t, err)
		r := begin(t, options{spool: s})
		r.send(video(10))
		must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
		_, err = r.feeder.Write([]byte("p"))
		must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old))
		if e := wire.AsError(err); e.Code != wire.StorageFull {
			t.Errorf("full disk: %v", err)
		}
		r.upload("p")
		if _, end := r.finish(); end.Outcome != wire.Done || end.Accounting.Inferred != 11 {
			t.Errorf("end %+v", end)
		}
	})
}

func TestStorageThatCannotSyncEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "spool")
		s, err := spool.Create(filepath.Join(dir, "a.media"))
		must(t, err)
		must(t, os.RemoveAll(dir)) // so that the name cannot be made durable
		r := begin(t, options{})
		r.upload("K")
		r.finish()

		r = begin(t, options{spool: s})
		r.send(video(3))
		err = <-r.ran
		must(t, err)
		if f := r.Failure(); f == nil || f.Code != wire.Internal || r.Status().Acked != 0 {
			t.Errorf("failure %+v, acknowledged %d", f, r.Status().Acked)
		}
		must(t, r.batcher.Close())
		if err := r.spool.Close(); !errors.Is(err, spool.ErrSync) {
			t.Errorf("close: %v", err)
		}
		if _, err := r.feeder.Write([]byte("p")); wire.AsError(err).Code != wire.Conflict {
			t.Errorf("write after the end: %v", err)
		}
	})
}

package timeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"detections/session/wire"
)

func TestAPowerCutKeepsWhatWasPromised(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for name, mode := range map[string]Sync{"always": Always, "interval": Interval} {
		for seed := range seeds {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) { powerCut(t, mode, seed) })
		}
	}
}

// feeder writes to one session until it is stopped or refused, and keeps what was accepted.
type feeder struct {
	records, input atomic.Uint64
}

// feed closes reached once at records are accepted.
func (f *feeder) feed(store *Pebble, id string, at uint64, reached, stop chan struct{}) {
	for n := uint64(0); ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		rec := Record{Event: wire.Event{Offset: n + 1, Message: fmt.Appendf(nil, "%d", n+1)}, Replay: make([]byte, 20_000)}
		if store.Append(context.Background(), id, 1, n, rec) != nil {
			return
		}
		f.records.Store(n + 1)
		if n%8 == 0 && store.Commit(context.Background(), id, 1, Input{Bytes: int64(n)}) == nil {
			f.input.Store(n)
		}
		if n+1 == at {
			close(reached)
		}
	}
}

func powerCut(t *testing.T, mode Sync, seed uint64) {
	r := newRig(t, mode)
	const sessions = 4
	var feeders [sessions]feeder
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for s := range feeders {
		id, reached := fmt.Sprint(s), make(chan struct{})
		r.begin(id)
		store := r.Pebble
		wg.Go(func() { feeders[s].feed(store, id, 60+40*seed, reached, stop) }) // from within the first log to some logs later
		if s == sessions-1 {
			<-reached
		}
	}
	var accepted, committed [sessions]uint64
	for s := range feeders {
		accepted[s], committed[s] = feeders[s].records.Load(), feeders[s].input.Load()
	}
	clone := r.crash(int(seed%3)*50, seed)
	close(stop)
	wg.Wait()
	_ = r.Close()
	r.mem = clone
	r.open()
	for s := range feeders {
		if mode == Interval {
			accepted[s] = 0
		}
		r.check(fmt.Sprint(s), accepted[s])
		if st, err := r.Status(t.Context(), fmt.Sprint(s)); err != nil || st.Input.Bytes < int64(committed[s]) {
			t.Errorf("%d bytes of input, %d were committed: %v", st.Input.Bytes, committed[s], err)
		}
	}
}

func TestWithIntervalARecordIsWithTheOperatingSystemWhenAppendReturns(t *testing.T) {
	r := newRig(t, Interval)
	r.begin("a")
	for i := range uint64(10) {
		if err := r.add("a", i, 100); err != nil {
			t.Fatal(err)
		}
		killed := &rig{t: t, mem: r.crash(100, 1), faults: &faults{}}
		killed.open()
		killed.check("a", i+1)
	}
}

func TestWithIntervalAPowerCutLosesNoMoreThanTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Interval)
		r.begin("a")
		if err := r.add("a", 0, 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Millisecond)
		synctest.Wait()
		r.cut(0, 1)
		r.check("a", 1)
		_ = r.Close()
	})
}

// What is made again after a power cut waits longer, unless something else is synced.
func TestWithIntervalRecordsThatAreMadeAgainWaitLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Interval)
		r.begin("a")
		r.begin("b")
		again := func(after uint64) {
			t.Helper()
			err := r.Append(t.Context(), "a", 1, after, Record{Again: true, Event: wire.Event{Offset: after + 1, Type: wire.TypeDetections, Message: []byte("{}")}})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		stored := func(want uint64) {
			t.Helper()
			synctest.Wait()
			after := &rig{t: t, mem: r.crash(0, 1), faults: &faults{}}
			after.open()
			if st, err := after.Status(t.Context(), "a"); err != nil || st.Offset != want {
				t.Errorf("a power cut leaves %d records, not %d: %v", st.Offset, want, err)
			}
			_ = after.Close()
		}
		again(0)
		time.Sleep(99 * time.Millisecond)
		stored(0)
		time.Sleep(2 * time.Millisecond)
		stored(1)
		again(1)
		time.Sleep(5 * time.Millisecond)
		if err := r.add("b", 0, 100); err != nil { // it cannot wait, and they share the log
			t.Fatal(err)
		}
		again(2)
		time.Sleep(11 * time.Millisecond)
		stored(3)
		again(3)
		if err := r.Commit(t.Context(), "a", 1, Input{Bytes: 7}); err != nil {
			t.Fatal(err)
		}
		stored(4)
		_ = r.Close()
	})
}

func TestWithIntervalALogThatIsFollowedByAnotherIsSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Interval)
		r.begin("a")
		r.faults.set(failing(syscall.EIO, isTablePath, errorfs.OpCreate)) // so that there are several logs
		if accepted := r.fill("a", 0); accepted*100_000 < memTableSize/2 {
			t.Fatalf("refused after %d records", accepted)
		}
		r.cut(0, 1)
		r.check("a", 20)
		_ = r.Close()
	})
}

func TestAfterAFailedSyncOfTheLogNothingIsAccepted(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileWrite} {
		r := newRig(t, Always)
		r.begin("a")
		for i := range uint64(3) {
			if err := r.add("a", i, 100); err != nil {
				t.Fatal(err)
			}
		}
		r.faults.set(failing(syscall.EIO, isLogPath, kind))
		if err := r.add("a", 3, 100); !errors.Is(err, ErrStorage) {
			t.Fatalf("append: %v", err)
		}
		r.faults.Store(nil)
		for what, err := range map[string]error{
			"append":  r.add("a", 3, 100),
			"commit":  r.Commit(t.Context(), "a", 1, Input{Bytes: 1}),
			"create":  r.Create(t.Context(), Meta{ID: "b"}),
			"deliver": r.Deliver(t.Context(), "a", 1),
			"delete":  r.Delete(t.Context(), "a"),
		} {
			if !errors.Is(err, ErrStorage) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if st, err := r.Status(t.Context(), "a"); err != nil || st.Offset != 3 || st.Input.Bytes != 0 {
			t.Errorf("%+v, %v", st, err)
		}
		r.check("a", 3)
		r.reopen()
		r.check("a", 3)
	}
}

func TestALogThatFailedHalfwayStaysTheLastOne(t *testing.T) {
	r := newRig(t, Always)
	r.begin("a")
	if err := r.add("a", 0, 100); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int64
	r.faults.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWrite && isLogPath(op.Path) && writes.Add(1) > 3 || op.Kind == errorfs.OpCreate && isTablePath(op.Path) {
			return syscall.EIO
		}
		return nil
	})
	// So large that Pebble begins a log behind it.
	if err := r.add("a", 1, memTableSize); !errors.Is(err, ErrStorage) {
		t.Fatalf("append: %v", err)
	}
	r.reopen()
	r.check("a", 1)
}

func TestWritersThatWaitWhenTheLogFailsAreAllToldSo(t *testing.T) {
	for _, mode := range []Sync{Always, Interval} {
		r := newRig(t, mode)
		var feeders [32]feeder
		var wg sync.WaitGroup
		for s := range feeders {
			id, reached := fmt.Sprint(s), make(chan struct{})
			r.begin(id)
			wg.Go(func() { feeders[s].feed(r.Pebble, id, 10, reached, nil) })
			if s == len(feeders)-1 {
				<-reached
			}
		}
		// Everything at once: the next log cannot be made either.
		r.faults.set(failing(syscall.EIO, isLogPath, errorfs.OpFileWrite, errorfs.OpFileSyncData, errorfs.OpCreate, errorfs.OpReuseForWrite))
		wg.Wait()
		r.reopen()
		for s := range feeders {
			r.check(fmt.Sprint(s), feeders[s].records.Load())
		}
	}
}

func TestOnAFullDiskWhatIsAcceptedIsWrittenAndTheRestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Interval)
		r.begin("a")
		var room atomic.Bool
		r.faults.set(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, "ballast") {
				room.Store(true)
				return nil
			}
			atBallast := op.Kind == errorfs.OpFilePreallocate && strings.HasSuffix(op.Path, "ballast")
			if atBallast || op.Kind == errorfs.OpFileWrite && !room.Load() {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := r.add("a", 0, 100); err != nil {
			t.Errorf("the append that met the full disk: %v", err)
		}
		for what, err := range map[string]error{
			"append": r.add("a", 1, 100),
			"commit": r.Commit(t.Context(), "a", 1, Input{Bytes: 1}),
			"create": r.Create(t.Context(), Meta{ID: "b"}),
		} {
			if !errors.Is(err, ErrFull) {
				t.Errorf("%s: %v", what, err)
			}
		}
		r.check("a", 1)
		if err := r.Delete(t.Context(), "nobody"); err != nil {
			t.Errorf("delete: %v", err)
		}
		r.faults.Store(nil) // somebody made room
		time.Sleep(ballastRetry + time.Millisecond)
		synctest.Wait()
		if err := r.add("a", 1, 100); err != nil {
			t.Errorf("append once there is room: %v", err)
		}
		r.reopen()
		r.check("a", 2)
		_ = r.Close()
	})
}

func TestAStoreOpenedOnAFullDiskCanBeReadButNotAddedTo(t *testing.T) {
	r := newRig(t, Always)
	r.begin("a")
	if err := r.add("a", 0, 100); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	if err := r.mem.Remove("d/ballast"); err != nil {
		t.Fatal(err)
	}
	r.faults.set(failing(syscall.ENOSPC, func(p string) bool { return strings.HasSuffix(p, "ballast") }, errorfs.OpFilePreallocate))
	r.open()
	r.check("a", 1)
	if err := r.add("a", 1, 100); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
}

func TestWhileTablesCannotBeWrittenNothingIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Always)
		r.begin("a")
		r.faults.set(failing(syscall.EIO, isTablePath, errorfs.OpCreate))
		accepted := r.fill("a", 0)
		r.check("a", accepted)
		r.faults.Store(nil)
		time.Sleep(2 * retryTable)
		synctest.Wait()
		if err := r.add("a", accepted, 100); err != nil {
			t.Errorf("append once tables can be written: %v", err)
		}
		r.reopen()
		r.check("a", accepted+1)
		_ = r.Close()
	})
}

func TestAFlushWithoutAnythingToWriteIsNoFailure(t *testing.T) {
	r := newRig(t, Always)
	r.begin("a")
	for i := range uint64(3) {
		if err := errors.Join(r.db.Flush(), r.db.Flush(), r.add("a", i, 100)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFailedManifestEndsAcceptingAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Always)
		r.begin("a")
		r.faults.set(failing(syscall.EIO, isManifestPath, errorfs.OpFileWrite, errorfs.OpFileSync))
		accepted := r.fill("a", 0)
		r.check("a", accepted)
		r.faults.Store(nil)
		if err := r.add("a", accepted, 100); !errors.Is(err, ErrStorage) {
			t.Errorf("append: %v", err)
		}
		r.reopen()
		r.check("a", accepted)
		_ = r.Close()
	})
}

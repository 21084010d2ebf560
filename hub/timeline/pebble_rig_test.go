package timeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"detections/session/wire"
)

// faults fails what it is told to fail; nil fails nothing.
type faults struct {
	atomic.Pointer[func(errorfs.Op) error]
	syncs atomic.Int64 // of logs
}

func (f *faults) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpFileSyncData && isLogPath(op.Path) {
		f.syncs.Add(1)
	}
	if fail := f.Load(); fail != nil {
		return (*fail)(op)
	}
	return nil
}

func (f *faults) String() string { return "faults" }

func (f *faults) set(fail func(errorfs.Op) error) { f.Store(&fail) }

// failing fails operations of one kind on some files.
func failing(err error, path func(string) bool, kinds ...errorfs.OpKind) func(errorfs.Op) error {
	return func(op errorfs.Op) error {
		for _, k := range kinds {
			if op.Kind == k && path(op.Path) {
				return err
			}
		}
		return nil
	}
}

func isLogPath(p string) bool   { return strings.HasSuffix(p, ".log") }
func isTablePath(p string) bool { return strings.HasSuffix(p, ".sst") }
func isManifestPath(p string) bool {
	return strings.HasPrefix(filepath.Base(p), "MANIFEST")
}

// rig is a store in memory whose disk fails on request.
type rig struct {
	*Pebble
	t      *testing.T
	mem    *vfs.MemFS
	faults *faults
	mode   Sync
}

func newRig(t *testing.T, mode Sync) *rig {
	r := &rig{t: t, mem: vfs.NewCrashableMem(), faults: &faults{}, mode: mode}
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	p, err := OpenPebble("d", Options{Sync: r.mode, fs: errorfs.Wrap(r.mem, r.faults)})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = p.Close() })
	r.Pebble = p
}

// reopen is a new process on the same disk, which works again.
func (r *rig) reopen() {
	r.t.Helper()
	_ = r.Close()
	r.faults.Store(nil)
	r.open()
}

// cut is a new process after a power cut now; of what was not synced, a part is left.
func (r *rig) cut(percent int, seed uint64) {
	r.t.Helper()
	clone := r.crash(percent, seed)
	_ = r.Close()
	r.mem = clone
	r.faults.Store(nil)
	r.open()
}

// crash is what the disk has after a power cut now.
func (r *rig) crash(percent int, seed uint64) *vfs.MemFS {
	return r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 1))})
}

func (r *rig) begin(id string) {
	r.t.Helper()
	if err := r.Create(r.t.Context(), Meta{ID: id}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.Acquire(r.t.Context(), id); err != nil {
		r.t.Fatal(err)
	}
}

// add appends one record of a size after an offset.
func (r *rig) add(id string, after uint64, size int) error {
	return r.Append(r.t.Context(), id, 1, after, Record{
		Event:  wire.Event{Offset: after + 1, Type: wire.TypeDetections, Message: fmt.Appendf(nil, "%d", after+1)},
		Replay: make([]byte, size),
	})
}

// check fails the test unless a session has at least so many records, all readable.
func (r *rig) check(id string, atLeast uint64) {
	r.t.Helper()
	st, err := r.Status(r.t.Context(), id)
	if err != nil || st.Offset < atLeast {
		r.t.Errorf("session %s has %d records, %d were accepted: %v", id, st.Offset, atLeast, err)
	}
	recs, err := r.Read(r.t.Context(), id, 0, 1<<20)
	if err != nil || uint64(len(recs)) != st.Offset {
		r.t.Errorf("session %s has %d records, %d can be read: %v", id, st.Offset, len(recs), err)
	}
	for i, rec := range recs {
		if string(rec.Message) != fmt.Sprint(i+1) {
			r.t.Errorf("record %d is %q", i+1, rec.Message)
		}
	}
}

// fill appends until the store refuses, and returns the last offset.
func (r *rig) fill(id string, after uint64) uint64 {
	r.t.Helper()
	for range 2000 {
		synctest.Wait() // what runs in the background has got as far as it can
		err := r.add(id, after, 100_000)
		if errors.Is(err, ErrStorage) {
			return after
		}
		if err != nil {
			r.t.Fatal(err)
		}
		after++
	}
	r.t.Fatal("nothing was refused")
	return after
}

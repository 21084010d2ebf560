package timeline

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"detections/session/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Record{
			Event: wire.Event{
				Offset:  rapid.Uint64().Draw(t, "offset"),
				Type:    wire.Type(rapid.OneOf(rapid.SampledFrom([]string{"configured", "detections", "end"}), rapid.StringN(0, -1, maxType)).Draw(t, "type")),
				Empty:   rapid.Bool().Draw(t, "empty"),
				Message: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "message"),
			},
			Replay: rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "replay"),
		}
		total := rapid.Int64Min(0).Draw(t, "total")
		v := slices.Concat(appendHeader(nil, &in, total), in.Message, in.Replay)
		out, sum, err := parseRecord(in.Offset, v)
		if err != nil || sum != total || out.Type != in.Type || out.Empty != in.Empty || !bytes.Equal(out.Message, in.Message) || !bytes.Equal(out.Replay, in.Replay) {
			t.Errorf("wrote %+v, %d; read %+v, %d: %v", in, total, out, sum, err)
		}
		// A later minor version has a longer header.
		longer := slices.Concat([]byte{v[0] + 2}, v[1:1+v[0]], []byte{1, 2}, v[1+v[0]:])
		out, _, err = parseRecord(in.Offset, longer)
		if err != nil || out.Type != in.Type || !bytes.Equal(out.Message, in.Message) || !bytes.Equal(out.Replay, in.Replay) {
			t.Errorf("with a longer header: read %+v: %v", out, err)
		}
	})
}

func TestDamagedEntriesAreErrorsAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		_, _, _ = parseRecord(1, b)
		_, _ = parseMeta("a", b)
		_, _ = parseState(&Status{}, b)
	})
}

func TestAStoreOfALaterMinorVersionIsReadAndKeepsWhatThatAdded(t *testing.T) {
	r := newRig(t, Always)
	r.begin("a")
	if err := r.add("a", 0, 100); err != nil {
		t.Fatal(err)
	}
	const later = 200 // a tag
	st, err := r.Status(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	state := appendField(appendState(nil, &st, nil), later, "new")
	meta := appendField(appendMeta(nil, &st.Meta), later, "new")
	for key, value := range map[string][]byte{
		string([]byte{keySchema}):                {schemaMajor, schemaMinor + 1, 'x'},
		string(appendKey(nil, keyMeta, "a")):     meta,
		string(appendKey(nil, keyState, "a")):    state,
		string(appendKey(nil, 'z', "new kind")):  []byte("new"),
		string(appendKey(nil, 0x02, "new kind")): []byte("new"),
	} {
		if err := r.db.Set([]byte(key), value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	r.reopen()
	r.check("a", 1)
	if err := r.Commit(t.Context(), "a", 1, Input{Bytes: 7}); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	if st, err := r.Status(t.Context(), "a"); err != nil || st.Input.Bytes != 7 {
		t.Errorf("%+v, %v", st, err)
	}
	if s := r.sessions["a"]; string(s.extra) != string(appendField(nil, later, "new")) {
		t.Errorf("of the later version is left %q", s.extra)
	}
	v, closer, err := r.db.Get([]byte{keySchema})
	if err != nil || v[1] != schemaMinor+1 {
		t.Errorf("schema %v, %v", v, err)
	}
	_ = closer.Close()
}

func TestAStoreOfALaterMajorVersionIsRefused(t *testing.T) {
	r := newRig(t, Always)
	if err := r.db.Set([]byte{keySchema}, []byte{schemaMajor + 1, 3}, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	_, err := OpenPebble("d", Options{fs: r.mem})
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), fmt.Sprintf("schema %d.3, this program reads %d.x", schemaMajor+1, schemaMajor)) {
		t.Errorf("got %v", err)
	}
}

func TestOneProcessAtATimeHasTheStore(t *testing.T) {
	dir := t.TempDir()
	p, err := OpenPebble(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if _, err := OpenPebble(dir, Options{}); err == nil {
		t.Error("it was opened twice")
	}
}

func TestAnIDTooLongIsRefused(t *testing.T) {
	r := newRig(t, Interval)
	if err := r.Create(t.Context(), Meta{ID: strings.Repeat("x", maxID+1)}); err == nil {
		t.Error("no error")
	}
	r.begin(strings.Repeat("x", maxID))
	r.begin(strings.Repeat("x", maxID-1))
	if err := r.add(strings.Repeat("x", maxID), 0, 1); err != nil {
		t.Fatal(err)
	}
	r.reopen()
	r.check(strings.Repeat("x", maxID), 1)
	r.check(strings.Repeat("x", maxID-1), 0)
}

func TestTakingOverManySessionsCostsNoSync(t *testing.T) {
	r := newRig(t, Always)
	r.begin("a")
	before := r.faults.syncs.Load()
	for range 100 {
		if _, err := r.Acquire(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.faults.syncs.Load() - before; n != 0 {
		t.Errorf("%d syncs", n)
	}
}

// BenchmarkAppend shows what an append allocates; its time is mostly the disk's.
func BenchmarkAppend(b *testing.B) {
	for name, mode := range map[string]Sync{"always": Always, "interval": Interval} {
		b.Run(name, func(b *testing.B) {
			p, err := OpenPebble(b.TempDir(), Options{Sync: mode})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			if err := p.Create(b.Context(), Meta{ID: "a", Created: time.Now()}); err != nil {
				b.Fatal(err)
			}
			if _, err := p.Acquire(b.Context(), "a"); err != nil {
				b.Fatal(err)
			}
			rec := Record{Event: wire.Event{Type: wire.TypeDetections, Message: make([]byte, 300)}, Replay: make([]byte, 30)}
			b.ReportAllocs()
			for n := uint64(0); b.Loop(); n++ {
				rec.Offset = n + 1
				if err := p.Append(b.Context(), "a", 1, n, rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

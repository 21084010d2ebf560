//go:build cgo

package mediatest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"detections/media"
	"detections/media/mediatest"
	"detections/media/worker"
)

// hostileInputs are the numbers of the mutated inputs that are tried: some in `make
// test`, many in `make test-hostile`.
func hostileInputs(usual int) (from, to int) {
	if n, err := strconv.Atoi(os.Getenv("HOSTILE")); err == nil {
		usual = n
	}
	from, _ = strconv.Atoi(os.Getenv("HOSTILE_FROM")) // for who does it in pieces
	return from, from + usual
}

// progress is after how many inputs a line is logged.
const progress = 1000

// trials is what became of the inputs.
type trials struct {
	mu sync.Mutex
	mediatest.Ordeal
	crashes []string // guarded by mu: decoder processes that died
}

// TestNoMutatedInputDoesMoreThanEndItsSession runs mutated inputs of every container
// and codec through sandboxed processes. Each must come to one end, in time.
func TestNoMutatedInputDoesMoreThanEndItsSession(t *testing.T) {
	long(t)
	from, to := hostileInputs(300)
	m := mediatest.NewMutator(t)
	peaks := newPeaks(t)
	pool := worker.NewPool(worker.Config{Args: []string{worker.Argument, peaks.path}, Idle: 3})
	defer pool.Close()
	all := trials{Ordeal: mediatest.Ordeal{Through: "sandboxed processes", Ends: map[string]int{}}}
	var told largest
	var next atomic.Int64
	next.Store(int64(from))
	var work sync.WaitGroup
	for range 3 {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < to; i = int(next.Add(1)) - 1 {
				all.try(t, pool, m, i)
				if i%100 == 0 {
					told.take(t, peaks)
				}
				if done := i - from; done > 0 && done%progress == 0 {
					t.Logf("%d of %d inputs", done, to-from)
				}
			}
		})
	}
	work.Wait()
	told.take(t, peaks)
	all.Largest, all.Died = told.most, len(all.crashes)
	all.Report(t)
	if all.Died > 0 {
		t.Logf("processes that died: %q", all.crashes)
	}
	if all.Ends["started wrong"] > 0 || all.Ends["of no kind"] > 0 || all.Inputs != to-from {
		t.Errorf("%d inputs, ends: %v", all.Inputs, all.Ends)
	}
	if told.most > absurdMemory {
		t.Errorf("a decoder process had %d MB", told.most>>10)
	}
}

// largest reads what processes tell of their memory.
type largest struct {
	mu   sync.Mutex
	most int // guarded by mu: kB
}

func (l *largest) take(t *testing.T, p *peaks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, kB := range p.read(t) {
		l.most = max(l.most, kB)
	}
}

func (a *trials) try(t *testing.T, pool *worker.Pool, m *mediatest.Mutator, i int) {
	seed, input := m.Input(i)
	begun := time.Now()
	err := decodeBytes(t, pool, input)
	took := time.Since(begun)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Inputs++
	a.Ends[kindOf(err)]++
	name := fmt.Sprintf("%d of %s", i, seed)
	if errors.Is(err, media.ErrCrashed) {
		a.crashes = append(a.crashes, name+": "+err.Error())
	}
	if took > a.Slowest {
		a.Slowest, a.Which = took, name
	}
	if took > absurdTime {
		t.Errorf("%s took %v", name, took)
	}
}

// decodeBytes decodes an input to its end, which must stay the end.
func decodeBytes(t *testing.T, pool *worker.Pool, input []byte) error {
	f, err := os.CreateTemp(t.TempDir(), "input")
	if err == nil {
		defer os.Remove(f.Name())
		defer f.Close()
		_, err = f.Write(input)
	}
	if err != nil {
		t.Error(err)
		return err
	}
	d, err := pool.Start(t.Context(), f, media.Job{Views: []media.View{{Width: 32, Height: 32}}})
	if err != nil {
		return err
	}
	defer d.Close()
	d.Grow(int64(len(input)/2), false)
	d.Grow(int64(len(input)), true)
	r := mediatest.Drain(t, d, nil)
	if _, err := d.Next(t.Context()); err == nil {
		t.Error("something comes after the end")
	}
	return r.Err
}

func kindOf(err error) string {
	for name, kind := range map[string]error{
		"unsupported": media.ErrUnsupported, "crashed": media.ErrCrashed, "stalled": media.ErrStalled, "too large": media.ErrTooLarge,
		"truncated": media.ErrTruncated, "started wrong": media.ErrStarting,
	} {
		if errors.Is(err, kind) {
			return name
		}
	}
	switch {
	case err == nil:
		return "decoded"
	case errors.Is(err, media.ErrDecode):
		return "undecodable"
	}
	return "of no kind"
}

// What a bomb may take until it is refused.
const (
	bombTime   = time.Second
	bombMemory = 100 << 10 // kB
)

func TestBombsAreRefusedAtOnce(t *testing.T) {
	long(t)
	const pixels = "pixels (setting max-pixels)"
	side := []byte{0x3e, 0x80, 0x3e, 0x80} // 16000×16000
	bombs := []absurd{
		{name: "bomb-16000x8000.mp4", kind: media.ErrTooLarge, says: "16000×8000, more than 16588800 " + pixels},
		{name: "bomb-8192x8192.mp4", kind: media.ErrTooLarge, says: "8192×8192, more than 16588800 " + pixels},
		{name: "16000x8000.webm", make: patch("people-vp8.webm", "\x9d\x01\x2a", 3, []byte{0x80, 0x3e, 0x40, 0x1f}), kind: media.ErrTooLarge, says: "16000×8000"},
		{name: "16000x8000.ivf", make: patch("people-vp8.ivf", "\x9d\x01\x2a", 3, []byte{0x80, 0x3e, 0x40, 0x1f}), kind: media.ErrTooLarge, says: "16000×8000"},
		{name: "16000x16000.jpg", make: func(t *testing.T) []byte { // of a length that is not absurd for it
			return append(patch("frame.jpg", "\xff\xc0", 5, side)(t), make([]byte, 1<<20)...)
		}, kind: media.ErrTooLarge, says: "16000×16000"},
		{name: "16384x16384.png", kind: media.ErrTooLarge, says: "16384×16384"},
		{name: "100000-streams.mp4", make: streamsMP4, kind: media.ErrTooLarge, says: "more than 64 streams (setting max-streams)"},
		{name: "100000-streams.mkv", make: streamsMKV, kind: media.ErrTooLarge, says: "more than 64 streams"},
		{name: "million-fps.mp4", make: patch("million-fps.mp4", "stts", 24, []byte{0, 0, 0, 1}), kind: media.ErrTooLarge, says: "more than 1000 (setting max-frame-rate)"},
	}
	peaks := newPeaks(t)
	pool := worker.NewPool(worker.Config{Args: []string{worker.Argument, peaks.path}})
	defer pool.Close()
	for _, b := range bombs {
		t.Run(b.name, func(t *testing.T) {
			begun := time.Now()
			b.check(t, pool)
			took := time.Since(begun)
			told := peaks.read(t)
			if len(told) != 1 || told[0] > bombMemory {
				t.Errorf("processes had %v kB", told)
			}
			t.Logf("%v with the making of the file, %v kB", took.Round(time.Millisecond), told)
			if os.Getenv("HOSTILE") != "" && took > bombTime {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// many is how many streams the files below announce.
const many = 100_000

// streamsMP4 is an MP4 whose index has the same track again and again.
func streamsMP4(t *testing.T) []byte {
	t.Helper()
	file := read(t, "tiny.mp4")
	at := bytes.Index(file, []byte("trak")) - 4
	track := file[at:][:uint32(file[at])<<24|uint32(file[at+1])<<16|uint32(file[at+2])<<8|uint32(file[at+3])]
	return moovWith(file, bytes.Repeat(track, many))
}

// streamsMKV does the same in Matroska.
func streamsMKV(t *testing.T) []byte {
	t.Helper()
	track := element("\xae", element("\xd7", []byte{1}), element("\x83", []byte{1}), element("\x86", []byte("V_VP8")))
	return bytes.Join([][]byte{
		element("\x1a\x45\xdf\xa3", element("\x42\x82", []byte("matroska"))),
		element("\x18\x53\x80\x67", element("\x16\x54\xae\x6b", bytes.Repeat(track, many))),
	}, nil)
}

// TestNothingIsFetchedForAnInput gives inputs that name other files and servers, under
// every name of a container, to decoders. See also TestE2E…: there somebody listens.
func TestNothingIsFetchedForAnInput(t *testing.T) {
	long(t)
	canary := filepath.Join(t.TempDir(), "canary.ts")
	if err := os.WriteFile(canary, read(t, "people.ts"), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	for name, input := range mediatest.Pointers("127.0.0.1:9", canary) {
		for _, container := range append([]string{""}, media.Containers...) {
			f, err := os.CreateTemp(t.TempDir(), "input")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(input); err != nil {
				t.Fatal(err)
			}
			d, err := pool.Start(t.Context(), f, media.Job{Views: []media.View{{Width: 32, Height: 32}}, Container: container})
			if err != nil {
				t.Fatal(err)
			}
			d.Grow(int64(len(input)), true)
			if r := mediatest.Drain(t, d, nil); r.Err == nil || len(r.Frames) > 0 {
				t.Errorf("%s as %q: %d frames, err %v", name, container, len(r.Frames), r.Err)
			}
			d.Close()
			f.Close()
		}
	}
}

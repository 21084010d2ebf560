//go:build power

package main_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"detections/session/client"
	"detections/session/wire"
)

// disk is a file system in a file, of which a copy is what a power cut leaves: what
// was synced is in the file, what was only written is in the kernel's memory.
type disk struct {
	t           *testing.T
	file, mount string
}

func newDisk(t *testing.T, file string) *disk {
	t.Helper()
	d := &disk{t, file, t.TempDir()}
	asRoot(t, "mount", "-o", "loop", file, d.mount)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", d.mount).Run() }) // it may be unmounted
	return d
}

func asRoot(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v (this test needs root and loop devices): %v: %s", name, args, err, out)
	}
}

// told is what a client knows when the power goes.
type told struct {
	session       string
	acked, offset atomic.Int64
}

// TestPowerLoss stops the hub at a random moment of an upload, and starts another one
// on what its disk holds without the kernel's memory.
func TestPowerLoss(t *testing.T) {
	n := rounds(t, 5)
	for _, sync := range []string{"always", "interval"} {
		t.Run(sync, func(t *testing.T) {
			var events, lost, bytes int64
			for round := range n {
				told, left := powerCut(t, sync, rand.New(rand.NewPCG(uint64(round), 5)))
				events += told.offset.Load()
				bytes += told.acked.Load()
				lost += max(0, told.offset.Load()-left.Offset)
				if left.Bytes < told.acked.Load() {
					t.Errorf("round %d: %d bytes were acknowledged, %d are left", round, told.acked.Load(), left.Bytes)
				}
			}
			if sync == "always" && lost > 0 {
				t.Errorf("%d events were lost", lost)
			}
			t.Logf("%d power cuts, sync %s: %d bytes acknowledged, 0 lost; %d events told, %d lost (and computed again)", n, sync, bytes, events, lost)
		})
	}
}

// left is a session after the restart.
type left struct{ Offset, Bytes int64 }

func powerCut(t *testing.T, sync string, rng *rand.Rand) (*told, left) {
	t.Helper()
	dir := t.TempDir()
	image, after := filepath.Join(dir, "disk"), filepath.Join(dir, "after")
	asRoot(t, "truncate", "-s", "256M", image)
	asRoot(t, "mkfs.ext4", "-q", image)
	d := newDisk(t, image)
	p := onSamePlace(t, "127.0.0.1:0", filepath.Join(d.mount, "data"), "--sync", sync)
	p.await("engine ready")
	media := read(t, "people.mp4")
	c, err := client.New(client.Config{URL: p.url, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Detect(t.Context(), &slowReader{r: bytes.NewReader(media), rate: len(media)}, wire.Start{Media: wire.Media{Size: int64(len(media))}})
	if err != nil {
		t.Fatal(err)
	}
	k := &told{session: s.Started().Session}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range s.Events() {
			switch e := e.(type) {
			case *wire.Configured:
				k.offset.Store(int64(e.Offset))
			case *wire.Detections:
				k.offset.Store(int64(e.Offset))
			}
			_, acked := s.Uploaded()
			k.acked.Store(acked)
		}
	}()
	time.Sleep(time.Duration(300+rng.IntN(700)) * time.Millisecond)
	p.signal(syscall.SIGSTOP)
	time.Sleep(100 * time.Millisecond) // what was sent arrives
	asRoot(t, "cp", "--sparse=always", image, after)
	p.signal(syscall.SIGKILL)
	<-p.done
	<-done
	asRoot(t, "umount", "-l", d.mount)
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	e := newDisk(t, after)
	p = onSamePlace(t, "127.0.0.1:0", filepath.Join(e.mount, "data"), "--sync", sync)
	at := left{}
	if info := p.curl(p.url + "/v1/sessions/" + k.session); len(info) == 1 {
		at = left{Offset: int64(info[0].Offset), Bytes: info[0].Bytes}
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	asRoot(t, "umount", "-l", e.mount)
	return k, at
}

package worker

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"detections/media"
)

// Sizes of the shared memory of a job.
const (
	defaultSlots = 8
	minSlots     = 2
	maxRing      = 256 << 20
	page         = 4096
)

// ring is the memory that a process shares with its parent: one page of status,
// then the slots. Its size is sealed, so that neither side can make the other
// touch memory that is gone.
type ring struct {
	mem      []byte
	slots    int
	slotSize int
	refs     atomic.Int32 // the owner, and every frame that is held
}

// slotSize is the size of a slot: its views, each with spare bytes behind it.
func slotSize(views []media.View) int {
	size := 0
	for _, v := range views {
		size += viewSize(v)
	}
	return (size + page - 1) &^ (page - 1)
}

func viewSize(v media.View) int { return (v.Size() + media.SlotSpare + 63) &^ 63 }

// newRing makes the memory of a job; the file is for the process.
func newRing(views []media.View) (*ring, *os.File, error) {
	size := slotSize(views)
	slots := min(defaultSlots, maxRing/size)
	if slots < minSlots {
		return nil, nil, fmt.Errorf("views of %d bytes in all: at most %d", size, maxRing/minSlots)
	}
	fd, err := unix.MemfdCreate("detections-frames", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "detections-frames")
	if err = f.Truncate(int64(page + slots*size)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	r := &ring{slots: slots, slotSize: size}
	if err == nil {
		err = r.mmap(fd, unix.PROT_READ)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("ring: %w", err)
	}
	return r, f, nil
}

func (r *ring) mmap(fd, prot int) (err error) {
	r.mem, err = unix.Mmap(fd, 0, page+r.slots*r.slotSize, prot, unix.MAP_SHARED)
	r.refs.Store(1)
	return err
}

// pictures are the views of a slot.
func (r *ring) pictures(slot int, views []media.View) []media.Picture {
	at := page + slot*r.slotSize
	var ps []media.Picture
	for _, v := range views {
		ps = append(ps, media.Picture{Pix: r.mem[at : at+v.Size() : at+v.Size()+media.SlotSpare]})
		at += viewSize(v)
	}
	return ps
}

func (r *ring) hold() { r.refs.Add(1) }

func (r *ring) drop() {
	if r.refs.Add(-1) == 0 {
		unix.Munmap(r.mem)
	}
}

// state is what a process is doing.
type state uint32

const (
	working state = iota
	awaitingInput
	awaitingSlot
)

// status is the first page of the ring. The process writes it, the parent looks at
// it when nothing has come for a while, and believes only what it can check.
type status struct {
	progress atomic.Uint64 // counts whatever the loop does
	have     atomic.Int64  // when awaitingInput: the size that is known
	state    atomic.Uint32
}

func (r *ring) status() *status { return (*status)(unsafe.Pointer(&r.mem[0])) }

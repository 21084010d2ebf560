package hub

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"detections/session/wire"
)

// disk bounds what lies in the data directory.
type disk struct {
	dir   string
	quota int64 // bytes of media and timelines
	floor int64 // bytes that stay free for others
}

// Where nothing else is configured the hub takes so much of the file system, and
// leaves so much free.
const (
	diskShare = 0.8
	freeShare = 0.02
)

// newDisk looks at the file system of the data directory. A quota or floor of 0 is a
// share of it.
func newDisk(dir string, quota, floor int64) (disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return disk{}, fmt.Errorf("size of the file system of %s: %w", dir, err)
	}
	size := float64(fs.Blocks) * float64(fs.Bsize)
	if quota == 0 {
		quota = int64(diskShare * size)
	}
	if floor == 0 {
		floor = int64(freeShare * size)
	}
	return disk{dir: dir, quota: quota, floor: floor}, nil
}

// full says whether no new upload should begin.
func (d disk) full(used int64) bool { return used >= d.quota || d.low() }

// low says whether others need what is left.
func (d disk) low() bool {
	var fs unix.Statfs_t
	err := unix.Statfs(d.dir, &fs)
	return err != nil || int64(fs.Bavail)*fs.Bsize < d.floor // or it is not even there
}

// usedLocked is how much media and timelines take, in bytes. h.mu is held.
func (h *Hub) usedLocked() (sum int64) {
	for _, e := range h.sessions {
		sum += e.bytes + e.media
		if e.endedAt.IsZero() {
			sum += e.Status().Received
		}
	}
	return sum
}

// room says whether there is room for another upload, and makes some if it can.
func (h *Hub) room() error {
	if h.isFull() {
		h.sweep(time.Now())
	}
	if h.isFull() {
		return wire.Errorf(wire.StorageFull, "the hub's disk is full: media and results take up what they may (settings max-disk, min-free-disk); try again when sessions have ended")
	}
	return nil
}

// roomToGoOn says whether a running upload may go on. It may beyond the quota, or nothing
// would ever end, but not at the cost of others on the same disk.
func (h *Hub) roomToGoOn() error {
	if h.disk.low() {
		return wire.Errorf(wire.StorageFull, "less than %d bytes are free on the hub's disk (setting min-free-disk); what was acknowledged is kept", h.disk.floor)
	}
	return nil
}

func (h *Hub) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disk.full(h.usedLocked())
}

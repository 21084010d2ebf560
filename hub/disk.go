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

// newDisk looks at the file system of the data directory. A quota of 0 is a share of it.
func newDisk(dir string, quota int64) (disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return disk{}, fmt.Errorf("size of the file system of %s: %w", dir, err)
	}
	size := float64(fs.Blocks) * float64(fs.Bsize)
	if quota == 0 {
		quota = int64(diskShare * size)
	}
	return disk{dir: dir, quota: quota, floor: int64(freeShare * size)}, nil
}

// full says whether no new upload should begin.
func (d disk) full(used int64) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.dir, &fs); err != nil {
		return true // it is not even there
	}
	return used >= d.quota || int64(fs.Bavail)*fs.Bsize < d.floor
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
		return wire.Errorf(wire.StorageFull, "the hub's disk is full: media and results take up what they may; try again when sessions have ended")
	}
	return nil
}

func (h *Hub) isFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disk.full(h.usedLocked())
}

package av

import (
	"math"
	"time"

	"detections/media"
)

// keys remembers where decoding can begin again, and which packets came before the
// first such place.
type keys struct {
	packets  int64 // sent so far
	first    int64 // number of the first key packet, 0: none yet
	early    int64 // pictures from packets before it
	pictures int64 // pictures in all
	reached  bool  // a picture from it or a later one has come
	latest   int64 // number of the packet of the latest picture
	nth      int64 // pictures from the same packet before it
	times    [8]time.Duration
	recorded int
}

// sent numbers a packet, from 1.
func (k *keys) sent(isKey bool, pts time.Duration) int64 {
	k.packets++
	if isKey {
		if k.first == 0 {
			k.first = k.packets
		}
		k.times[k.recorded%len(k.times)] = pts
		k.recorded++
	}
	return k.packets
}

// received notes a picture by the number of its packet.
func (k *keys) received(packet int64) {
	k.nth++
	if packet != k.latest {
		k.latest, k.nth = packet, 0
	}
	k.pictures++
	if k.first == 0 || packet < k.first {
		k.early++
	} else {
		k.reached = true
	}
}

// resume makes the counts those of a checkpoint.
func (k *keys) resume(at *media.Checkpoint) {
	k.pictures, k.early = at.Pictures, at.Early
	k.reached = k.first > 0 && (at.Packet >= k.first || at.Stats.Undecoded.NoKeyframe > 0)
}

// begun says whether a key packet has been sent.
func (k *keys) begun() bool { return k.first > 0 }

// undecoded is how many packets before the first key packet gave no picture. It is
// known once a later picture has come, or at the end.
func (k *keys) undecoded(end bool) int64 {
	switch {
	case k.first == 0 && end:
		return max(0, k.packets-k.early)
	case k.first > 0 && (end || k.reached):
		return max(0, k.first-1-k.early)
	}
	return 0
}

// missing is how many packets from the first key packet on gave no picture, at the end.
func (k *keys) missing() int64 {
	if k.first == 0 {
		return 0
	}
	return max(0, k.packets-(k.first-1)-(k.pictures-k.early))
}

// before is the latest time of a key packet that is not after pts: pictures that
// lead an open group of pictures need the key before theirs.
func (k *keys) before(pts time.Duration) time.Duration {
	best := time.Duration(math.MinInt64)
	for _, t := range k.times[:min(k.recorded, len(k.times))] {
		if t <= pts && t > best {
			best = t
		}
	}
	if best == math.MinInt64 {
		return pts
	}
	return best
}

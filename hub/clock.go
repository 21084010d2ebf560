package hub

import (
	"hash/fnv"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"detections/session"
)

// thisBoot tells the starts of the machine apart; 0: the kernel does not say.
var thisBoot = sync.OnceValue(func() uint64 {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0
	}
	sum := fnv.New64a()
	_, _ = sum.Write(id) // it cannot fail
	return sum.Sum64()
})

// thisMoment is now. Between two processes the wall clock is not to be trusted: it may
// have been set meanwhile. Within one Go's own times are safe from that.
func thisMoment() session.Moment {
	m := session.Moment{Wall: time.Now()}
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) == nil {
		m.Boot, m.Up = thisBoot(), time.Duration(up.Nano())
	}
	return m
}

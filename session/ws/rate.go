package ws

import "time"

// Rates of one connection, in messages per second, and how many may come at once. Video
// comes in far fewer: a message of 4 KiB at 8 Mbit/s is 244 a second.
const (
	controlRate, controlBurst = 100, 400 // text; more is an error
	mediaRate, mediaBurst     = 2000, 4000
	pingRate, pingBurst       = 20, 100
)

// bucket is how much may come. It belongs to one goroutine.
type bucket struct {
	rate, burst float64
	left        float64
	at          time.Time
}

func newBucket(rate, burst float64) bucket { return bucket{rate, burst, burst, time.Now()} }

// take takes one, and says how long that one would have had to wait; 0: it is in time.
func (b *bucket) take() time.Duration {
	now := time.Now()
	b.left = min(b.burst, b.left+now.Sub(b.at).Seconds()*b.rate) - 1
	b.at = now
	return time.Duration(max(0, -b.left) / b.rate * float64(time.Second))
}

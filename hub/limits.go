package hub

import (
	"cmp"
	"fmt"
	"time"

	"detections/session"
)

// Limits bound what clients can use.
type Limits struct {
	Sessions  int           // running at once
	Pictures  int           // worked on at once
	Bytes     int64         // of one session's media
	Picture   int64         // bytes of one picture
	Window    int64         // bytes beyond the last ack
	Message   int64         // bytes of one binary WebSocket message
	Linger    time.Duration // how long a session waits for its feeder to come back
	Disk      int64         // bytes of media and results on disk; 0: a share of the file system
	Free      int64         // bytes of the file system that stay free; 0: a share of it
	Rates     session.Rates // of a session's media; below 0: any
	Retention time.Duration // how long an ended session's results are kept
	Kept      int           // ended sessions kept at most
	Files     int           // decoded at once; more wait for their turn
	// PerPrincipal is how many sessions of one principal may run at once; 0: any number.
	PerPrincipal int
	// MinRate is how many frames per second every live session must be able to get, or
	// another one is refused; 0 to 1000.
	MinRate float64
	// FrameRate and ByteRate are what one principal may use per second, in all its
	// sessions and pictures; 0: any number.
	FrameRate float64
	ByteRate  int64
	// DecodeCores is how many processor cores the decoders of one principal may keep
	// busy, in the mean over a second; 0: any number.
	DecodeCores float64
}

// DefaultLimits are in force where nothing else is configured.
var DefaultLimits = Limits{
	Sessions: 64, Pictures: 16, Bytes: 8 << 30, Picture: 32 << 20, Window: 8 << 20, Message: 1 << 20,
	Rates: session.Rates{Most: 128 << 20, Least: 1 << 10}, Linger: 10 * time.Minute, Retention: time.Hour, Kept: 1000, Files: 32, MinRate: 1,
}

func (l Limits) withDefaults() Limits {
	d := DefaultLimits
	return Limits{
		Sessions: cmp.Or(l.Sessions, d.Sessions), Pictures: cmp.Or(l.Pictures, d.Pictures), Bytes: cmp.Or(l.Bytes, d.Bytes), Picture: cmp.Or(l.Picture, d.Picture),
		Window: cmp.Or(l.Window, d.Window), Message: cmp.Or(l.Message, d.Message), Linger: cmp.Or(l.Linger, d.Linger), Disk: l.Disk, Free: l.Free,
		Rates:     session.Rates{Most: max(0, cmp.Or(l.Rates.Most, d.Rates.Most)), Least: max(0, cmp.Or(l.Rates.Least, d.Rates.Least))},
		Retention: cmp.Or(l.Retention, d.Retention), Kept: cmp.Or(l.Kept, d.Kept),
		Files: cmp.Or(l.Files, d.Files), PerPrincipal: l.PerPrincipal, MinRate: cmp.Or(l.MinRate, d.MinRate),
		FrameRate: l.FrameRate, ByteRate: l.ByteRate, DecodeCores: l.DecodeCores,
	}
}

// maxMinRate bounds Limits.MinRate; the others bound Limits.FrameRate and ByteRate, so
// that nothing waits for minutes, and nothing overflows.
const (
	maxMinRate   = 1000
	MinFrameRate = 0.1
	MaxFrameRate = 1e6
	MinByteRate  = 16 << 10
	MaxByteRate  = 1 << 40
	maxCores     = 1 << 10
)

// valid says which limits make no sense.
func (l Limits) valid() error {
	if !(l.MinRate >= 0 && l.MinRate <= maxMinRate) || l.Files < 0 || l.PerPrincipal < 0 {
		return fmt.Errorf("limits: a least rate of %v, %d files, %d sessions of a client", l.MinRate, l.Files, l.PerPrincipal)
	}
	if r := l.FrameRate; r != 0 && !(r >= MinFrameRate && r <= MaxFrameRate) { // NaN too
		return fmt.Errorf("limits: expected %v to %v frames per second of a client, or 0, got %v", MinFrameRate, MaxFrameRate, r)
	}
	if r := l.ByteRate; r != 0 && !(r >= MinByteRate && r <= MaxByteRate) {
		return fmt.Errorf("limits: expected %d to %d bytes per second of a client, or 0, got %d", MinByteRate, MaxByteRate, r)
	}
	if c := l.DecodeCores; !(c >= 0 && c <= maxCores) {
		return fmt.Errorf("limits: expected 0 to %d processor cores for the decoders of a client, got %v", maxCores, c)
	}
	return nil
}

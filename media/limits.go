package media

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Limits bound what is decoded. An input that goes beyond one is ErrTooLarge, or
// ErrUnsupported if its container or codec is not among those allowed; the message
// names the limit, what was found, and the setting.
type Limits struct {
	Pixels       int64         // of one coded picture
	FrameRate    float64       // pictures per second, declared or in any second of the media
	Duration     time.Duration // declared or reached; a live input may go on for ever
	Streams      int           // of one input
	Probe        int64         // bytes within which a video stream must show up
	ProbePackets int           // packets within which it must
	Containers   []string      // allowed; none: all
	Codecs       []string      // allowed; none: all
}

// DefaultLimits are in force where nothing else is configured: a picture of twice 4K;
// recordings of films and television have dozens of streams.
var DefaultLimits = Limits{
	Pixels: 16_588_800, FrameRate: MaxSampleFPS, Duration: 24 * time.Hour, Streams: 64, Probe: 1 << 20, ProbePackets: 2500,
}

// WithDefaults fills in what is 0.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits
	l.Pixels, l.FrameRate, l.Duration = cmp.Or(l.Pixels, d.Pixels), cmp.Or(l.FrameRate, d.FrameRate), cmp.Or(l.Duration, d.Duration)
	l.Streams, l.Probe, l.ProbePackets = cmp.Or(l.Streams, d.Streams), cmp.Or(l.Probe, d.Probe), cmp.Or(l.ProbePackets, d.ProbePackets)
	return l
}

// maxLimitPixels is a square of the largest side that a picture can have.
const maxLimitPixels = 1 << 28

// Validate says which limits make no sense. Those that are 0 get their default.
func (l Limits) Validate() error {
	l = l.WithDefaults()
	var errs []error
	within := func(name string, v, least, most float64) {
		if !(v >= least && v <= most) {
			errs = append(errs, fmt.Errorf("%s: expected %.0f to %.0f, got %v", name, least, most, v))
		}
	}
	within("max-pixels", float64(l.Pixels), 1, maxLimitPixels)
	within("max-frame-rate", l.FrameRate, 1, 1e9)
	within("max-duration", l.Duration.Seconds(), 1, math.MaxInt64/1e9)
	within("max-streams", float64(l.Streams), 1, 1000)
	within("probe-size", float64(l.Probe), 4<<10, 1<<30)
	within("probe-packets", float64(l.ProbePackets), 1, 1e9)
	for _, c := range l.Containers {
		if !slices.Contains(Containers, c) {
			errs = append(errs, fmt.Errorf("containers: expected some of %s, got %q", strings.Join(Containers, ", "), c))
		}
	}
	for _, c := range l.Codecs {
		if !slices.Contains(Codecs, c) {
			errs = append(errs, fmt.Errorf("codecs: expected some of %s, got %q", strings.Join(Codecs, ", "), c))
		}
	}
	return errors.Join(errs...)
}

// Codecs are the codecs that are offered, by the names that clients see.
var Codecs = []string{
	"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "msmpeg4v3", "cinepak", "mjpeg",
	"png", "webp", "bmp", "gif",
}

// Container says whether a container is allowed.
func (l Limits) Container(name string) bool {
	return slices.Contains(Containers, name) && (len(l.Containers) == 0 || slices.Contains(l.Containers, name))
}

// Codec says whether a codec is allowed.
func (l Limits) Codec(name string) bool {
	return slices.Contains(Codecs, name) && (len(l.Codecs) == 0 || slices.Contains(l.Codecs, name))
}

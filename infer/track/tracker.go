// Package track follows detections from frame to frame.
//
// It associates in the order of ByteTrack (Zhang et al.: ByteTrack: Multi-Object
// Tracking by Associating Every Detection Box, ECCV 2022): first what was detected
// with confidence, then, for objects that would else be lost, faint detections, which
// nobody is shown. Where an object should be is predicted by a Kalman filter with
// constant velocity, in media time, so that any sampling of frames will do. Pairs are
// taken by falling overlap, within a class.
package track

import (
	"cmp"
	"math"
	"slices"
	"time"

	"detections/infer"
)

// Faint is the lowest confidence of a detection that can keep a track alive.
const Faint = 0.1

const (
	// The least overlap (intersection over union) of a detection and where its object
	// was expected; what is faint must fit better.
	minOverlap, minFaintOverlap = 0.3, 0.5
	// What nothing overlapped, as small and fast objects, gets another chance with boxes
	// that are enlarged by margin of their size on every side.
	minWideOverlap, margin = 0.2, 0.5

	// A track ends when nothing was seen of it for that long and for so many frames.
	patience       = 1500 * time.Millisecond
	patienceFrames = 3
	// maxTracks bounds what is followed at a time.
	maxTracks = infer.MaxDetections
)

// Tracker follows the objects of one video. The zero value is ready for use by one
// goroutine. What it does depends on nothing but what it was given: boxes and times count
// as clients are told of them, in hundredths of a pixel and in microseconds.
type Tracker struct {
	tracks []object // in the order in which they began
	last   int64    // number given
	at     time.Duration

	// Used again from frame to frame.
	seen, faint []target
	pairs       []pair
	used        []infer.Detection
}

// object is something followed. It gets its number when it is seen for the second
// time: what flickers once is none.
type object struct {
	number int64 // 0: seen once
	class  int
	motion motion
	since  time.Duration // when it was last seen
	missed int           // frames since then
	found  bool          // in this frame
}

// target is a detection to be found a track for.
type target struct {
	class  int
	box    infer.Box
	object int // index into tracks; none yet: -1
}

// pair is a track and a detection that overlap.
type pair struct {
	overlap        float32
	object, target int
}

// Update takes in the next frame, at a time of the media: what was detected in it with
// enough confidence (seen), whose Track is set, and below that (faint).
func (t *Tracker) Update(at time.Duration, seen, faint []infer.Detection) {
	at = at.Round(time.Microsecond)
	t.predict(at)
	t.seen, t.faint = targets(t.seen[:0], seen), targets(t.faint[:0], faint)
	t.associate(t.seen, minOverlap, 0, func(*object) bool { return true })
	t.associate(t.faint, minFaintOverlap, 0, func(o *object) bool { return o.number != 0 && o.missed == 0 })
	t.associate(t.seen, minWideOverlap, margin, func(o *object) bool { return o.missed == 0 })
	t.settle(at)
	t.begin(at)
	for i := range seen {
		seen[i].Track = 0
		if k := t.seen[i].object; k >= 0 {
			seen[i].Track = t.tracks[k].number
		}
	}
	t.used = t.used[:0]
	for i, f := range t.faint {
		if f.object >= 0 {
			t.used = append(t.used, faint[i])
		}
	}
	t.forget()
}

// Used are those of the faint detections that the last Update made use of: with the
// others left out it would have done the same.
func (t *Tracker) Used() []infer.Detection { return t.used }

// Reset forgets all objects; numbers go on. Times may begin anew.
func (t *Tracker) Reset() { t.tracks, t.at = t.tracks[:0], 0 }

func (t *Tracker) predict(at time.Duration) {
	dt := max(0, at-t.at).Seconds()
	if len(t.tracks) == 0 {
		dt = 0
	}
	t.at = at
	for i := range t.tracks {
		o := &t.tracks[i]
		o.found = false
		o.motion.predict(dt, o.missed > 0)
	}
}

func targets(to []target, from []infer.Detection) []target {
	for _, d := range from {
		to = append(to, target{d.Class, rounded(d.Box), -1})
	}
	return to
}

// rounded is a box as clients are told of it.
func rounded(b infer.Box) infer.Box {
	return infer.Box{X: hundredths(b.X), Y: hundredths(b.Y), W: hundredths(b.W), H: hundredths(b.H)}
}

func hundredths(v float32) float32 { return float32(math.RoundToEven(float64(v)*100) / 100) }

// associate gives targets to those tracks that may have one, the pair that overlaps
// most first.
func (t *Tracker) associate(targets []target, least, margin float32, may func(*object) bool) {
	t.pairs = t.pairs[:0]
	for i := range t.tracks {
		o := &t.tracks[i]
		if o.found || !may(o) {
			continue
		}
		expected := enlarged(o.motion.box(), margin)
		for k := range targets {
			if targets[k].object >= 0 || targets[k].class != o.class {
				continue
			}
			if v := overlap(expected, enlarged(targets[k].box, margin)); v >= least {
				t.pairs = append(t.pairs, pair{v, i, k})
			}
		}
	}
	slices.SortFunc(t.pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.overlap, a.overlap), cmp.Compare(a.object, b.object), cmp.Compare(a.target, b.target))
	})
	for _, p := range t.pairs {
		o, d := &t.tracks[p.object], &targets[p.target]
		if !o.found && d.object < 0 {
			o.found, d.object = true, p.object
			o.motion.correct(d.box)
		}
	}
}

// settle counts who was seen.
func (t *Tracker) settle(at time.Duration) {
	for i := range t.tracks {
		o := &t.tracks[i]
		if !o.found {
			o.missed++
			continue
		}
		o.since, o.missed = at, 0
		if o.number == 0 {
			t.last++
			o.number = t.last
		}
	}
}

// begin follows what was seen and belongs to no track.
func (t *Tracker) begin(at time.Duration) {
	for i := range t.seen {
		d := &t.seen[i]
		if d.object >= 0 || len(t.tracks) >= maxTracks {
			continue
		}
		d.object = len(t.tracks)
		t.tracks = append(t.tracks, object{class: d.class, motion: newMotion(d.box), since: at, found: true})
	}
}

// forget ends the tracks of which nothing was seen for too long. It comes last: the
// indices of tracks change.
func (t *Tracker) forget() {
	t.tracks = slices.DeleteFunc(t.tracks, func(o object) bool {
		if o.number == 0 {
			return o.missed > 0
		}
		return o.missed >= patienceFrames && t.at-o.since > patience
	})
}

func enlarged(b infer.Box, by float32) infer.Box {
	return infer.Box{X: b.X - by*b.W, Y: b.Y - by*b.H, W: b.W * (1 + 2*by), H: b.H * (1 + 2*by)}
}

// overlap is the intersection over the union.
func overlap(a, b infer.Box) float32 {
	w := min(a.X+a.W, b.X+b.W) - max(a.X, b.X)
	h := min(a.Y+a.H, b.Y+b.H) - max(a.Y, b.Y)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h / (a.W*a.H + b.W*b.H - w*h)
}

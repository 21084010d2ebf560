package media

import (
	"fmt"
	"math"
	"time"
)

// Sample is the rule that picks frames. It depends on time stamps and counts only,
// never on load or the clock, so that the same file always gives the same frames.
// The zero value picks every frame.
type Sample struct {
	// FPS picks at most so many frames per second of media time: a frame is picked
	// when floor((pts − pts of the first frame) · FPS) grows. 0: no such limit.
	FPS float64
	// Every picks frames 0, n, 2n, … counted from where the rule took effect. 0 or 1: all.
	Every int
}

// Limits of a sampling rule.
const (
	MaxSampleFPS   = 1000
	MaxSampleEvery = 1_000_000
)

// Validate says what is wrong with a rule.
func (s Sample) Validate() error {
	switch {
	case s.FPS != 0 && s.Every != 0:
		return fmt.Errorf("sample: give either fps or every, not both")
	case math.IsNaN(s.FPS) || s.FPS < 0 || s.FPS > MaxSampleFPS:
		return fmt.Errorf("sample: fps must be above 0 and at most %d, got %v", MaxSampleFPS, s.FPS)
	case s.Every < 0 || s.Every > MaxSampleEvery:
		return fmt.Errorf("sample: every must be 1 to %d, got %d", MaxSampleEvery, s.Every)
	}
	return nil
}

// Picker applies a Sample to the frames of one input, in presentation order.
type Picker struct {
	rule  Sample
	begun bool
	start time.Duration
	tick  int64 // last value of floor((pts−start)·fps)
	count int64 // frames seen since the rule took effect
}

// NewPicker begins a rule at the next frame.
func NewPicker(rule Sample) Picker { return Picker{rule: rule} }

// ResumePicker returns a rule's picker as it was when it had just picked the frame
// with this time; start is what Start was then.
func ResumePicker(rule Sample, start, picked time.Duration) Picker {
	p := Picker{rule: rule, begun: true, start: start, count: 1}
	p.tick, _ = p.Tick(picked)
	return p
}

// Start is the time of the first frame of a rule of frames per second.
func (p *Picker) Start() time.Duration { return p.start }

// Change begins another rule at the next frame. The same rule just goes on: its
// count does not begin anew.
func (p *Picker) Change(rule Sample) {
	if rule != p.rule {
		*p = NewPicker(rule)
	}
}

// Pick says whether the frame with this time is picked.
func (p *Picker) Pick(pts time.Duration) bool {
	n := p.count
	p.count++
	if p.rule.FPS > 0 {
		return p.pickTick(pts)
	}
	return p.rule.Every <= 1 || n%int64(p.rule.Every) == 0
}

func (p *Picker) pickTick(pts time.Duration) bool {
	if !p.begun {
		p.begun, p.start, p.tick = true, pts, 0
		return true
	}
	tick, _ := p.Tick(pts)
	if tick <= p.tick {
		return false
	}
	p.tick = tick
	return true
}

// Tick is floor((pts − start)·fps), of which the first frame with a new value is
// picked. ok says that there is a rule of frames per second, and that it has begun.
func (p *Picker) Tick(pts time.Duration) (tick int64, ok bool) {
	// Half a microsecond of slack: time stamps of 1/90000 s are rounded to
	// nanoseconds, and 0.1 s · 10 must count as 1.
	tick = int64(math.Floor((pts - p.start + 500*time.Nanosecond).Seconds() * p.rule.FPS))
	return tick, p.begun && p.rule.FPS > 0
}

// Last is the tick that was picked last.
func (p *Picker) Last() int64 { return p.tick }

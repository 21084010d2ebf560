package session

import (
	"math"
	"slices"

	"detections/infer"
	"detections/infer/track"
	"detections/media"
	"detections/session/wire"
)

// settings are what can change while a session runs, with every value set.
type settings struct {
	id     string // of the configure message that made them
	sample wire.Sample
	labels []string // nil: all
	track  bool
	detect *infer.Detect // what clients are told of
	search *infer.Detect // what the engine is asked for
}

// change says from which frame other settings hold.
type change struct {
	settings settings
	ruleID   uint32
	from     int64
}

func defaults() settings {
	s := settings{sample: wire.Sample{All: true}}
	s.look(&infer.Detect{Threshold: infer.DefaultThreshold, IoU: infer.DefaultIoU})
	return s
}

// asked is what a session is to begin with, as a change of the defaults.
func asked(m wire.Start) *wire.Configure {
	return &wire.Configure{Sample: m.Sample, Detect: m.Detect, Track: &m.Track}
}

// look settles what to look for. Whoever follows objects also looks at what is too
// faint to be told of; the rest of what is found does not depend on that.
func (s *settings) look(d *infer.Detect) {
	s.detect, s.search = d, d
	if s.track {
		fainter := *d
		fainter.Faint = track.Faint
		s.search = &fainter
	}
}

// apply returns the settings as a message changes them. It fails if the model
// lacks one of the labels.
func (s settings) apply(c *wire.Configure, m *infer.Model) (settings, error) {
	s.id = c.ID
	if c.Sample != nil {
		s.sample = *c.Sample
		s.sample.All = s.sample.Rule() == media.Sample{}
	}
	if c.Track != nil {
		s.track = *c.Track
	}
	d := *s.detect
	if c.Detect != nil {
		if t := c.Detect.Threshold; t != nil {
			d.Threshold, d.Asked = asTold(*t), true
		}
		if i := c.Detect.IoU; i != nil {
			d.IoU = asTold(*i)
		}
		if c.Detect.Labels != nil {
			var err error
			if d.Classes, err = classes(m, c.Detect.Labels); err != nil {
				return s, err
			}
			s.labels = append([]string(nil), c.Detect.Labels...) // nil for none
		}
	}
	s.look(&d)
	return s, nil
}

// asTold rounds a setting to what a configured event can say of it, so that another
// life of the session goes on with the same number.
func asTold(v float64) float32 { return float32(math.Round(v*1e4) / 1e4) }

// classes are the model's classes with these labels; nil for none: no filter.
func classes(m *infer.Model, labels []string) (map[int]bool, error) {
	if len(labels) == 0 {
		return nil, nil
	}
	set := map[int]bool{}
	for _, l := range labels {
		c := slices.Index(m.Labels, l)
		if c < 0 {
			return nil, wire.Errorf(wire.BadMessage, "detect.labels: the model %s has no label %.60q; GET /classes lists its %d labels", m.Name, l, len(m.Labels))
		}
		set[c] = true
	}
	return set, nil
}

// Configure changes the settings from the next decoded frame on. A configured
// event names that frame.
func (s *Session) Configure(c *wire.Configure) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place == nil {
		return wire.Errorf(wire.EngineUnavailable, "configure: the engine is not ready yet; try again after the first configured event")
	}
	latest := s.settings
	if n := len(s.changes); n > 0 {
		latest = s.changes[n-1].settings
	}
	set, err := latest.apply(c, s.model)
	if err != nil {
		return err
	}
	s.changeID++
	ch := change{settings: set, ruleID: s.changeID}
	switch {
	case s.drained:
		return wire.Errorf(wire.Conflict, "configure: every frame is decoded already")
	case s.waitingChanges() >= maxChanges:
		return wire.Errorf(wire.Quota, "configure: %d changes wait to take effect; wait for their configured events", maxChanges)
	case s.decoded || s.decoder == nil && s.count.decode.Decoded == 0:
		s.enter(ch, s.nextIndex())
	default:
		s.changes = append(s.changes, ch)
		if s.decoder != nil { // else the next one is asked
			s.decoder.Configure(ch.ruleID, set.sample.Rule())
		}
	}
	return nil
}

// maxChanges bounds the changes that wait for the decoder or for the frames before
// them. It is far below maxUnemitted, or changes alone could fill the queue behind a
// frame that is then never taken.
const maxChanges = 16

// waitingChanges counts the changes whose configured event is to come. s.mu is held.
func (s *Session) waitingChanges() int {
	n := len(s.changes)
	for _, e := range s.queue {
		if e.change != nil {
			n++
		}
	}
	return n
}

// changed is the decoder's word from which frame a change holds. s.mu is held.
func (s *Session) changeHolds(r media.RuleChange) {
	i := slices.IndexFunc(s.changes, func(c change) bool { return c.ruleID == r.ID })
	if i < 0 {
		return // the rule that openDecoder passed on
	}
	c := s.changes[i]
	s.changes = slices.Delete(s.changes, i, i+1)
	if c.settings.sample.Rule() != s.settings.sample.Rule() {
		s.point.from = r.From
	}
	s.enter(c, s.first+r.From)
}

// enter puts a change in its place among the frames. s.mu is held.
func (s *Session) enter(c change, from int64) {
	c.from = from
	s.settings = c.settings
	s.queue = append(s.queue, &entry{change: &c})
	s.wake.Signal()
}

package session

import (
	"cmp"
	"fmt"

	"detections/infer"
	"detections/session/wire"
)

// Asked is what the session was asked to do.
func (s *Session) Asked() wire.Start { return s.cfg.Start }

// Identify names everything, beside the media's bytes, that determines the results
// of a file session.
func Identify(start wire.Start, m *infer.Model, id infer.Identity) (string, error) {
	set, err := defaults().apply(asked(start), m)
	if err != nil {
		return "", err
	}
	c := wire.Configured{
		Mode: cmp.Or(start.Mode, wire.File), Sample: set.sample, Engine: id, Track: set.track,
		Model: wire.ModelRef{Name: m.Name, Version: m.Version}, Detect: set.told(m),
	}
	return identity(start, c), nil
}

func identity(start wire.Start, c wire.Configured) string {
	c.ID, c.Offset, c.Frame, c.Type = "", 0, 0, ""
	return fmt.Sprintf("%s %q %v", wire.Encode(c), start.Media.Container, start.Media.FPS)
}

// Identity is Identify of a session that has ended, by its record. It is not ok if
// the results depend on more: on a change on the way, on a failure, on the clock.
func (p *Past) Identity(start wire.Start, end *wire.End) (string, bool) {
	const first = 1 // the event that configures the first frame
	failed := end.Accounting.Failed[engineError] > 0
	if p.configured == nil || p.inForce != first || p.configured.Mode != wire.File || failed {
		return "", false
	}
	return identity(start, *p.configured), true
}

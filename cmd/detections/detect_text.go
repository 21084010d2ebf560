package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"detections/session/wire"
)

// line is a summary in one line.
func (s *summary) line() string {
	var kinds []string
	for _, label := range s.byCount() {
		kinds = append(kinds, fmt.Sprintf("%d %s", s.Objects[label].Count, label))
	}
	found := "nothing found"
	if len(kinds) > 0 {
		found = strings.Join(kinds, ", ")
	}
	return fmt.Sprintf("%s: %s: %s", s.in.name, s.size(), found)
}

// text is a summary for people. bold marks the name on a terminal.
func (s *summary) text(bold func(string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", bold(s.in.name), s.size())
	if s.Frames > 0 && len(s.Objects) == 0 {
		b.WriteString("  nothing found\n")
	}
	wide := 0
	for label := range s.Objects {
		wide = max(wide, len(label))
	}
	for _, label := range s.byCount() {
		o := s.Objects[label]
		fmt.Fprintf(&b, "  %-*s  %6d", wide, label, o.Count)
		if s.video {
			fmt.Fprintf(&b, "  in %d of %d frames, at most %d in one", o.Frames, s.Frames, o.Most)
		}
		if o.Followed > 0 {
			fmt.Fprintf(&b, ", %d different", o.Followed)
		}
		fmt.Fprintf(&b, ", confidence up to %.2f\n", o.Best)
	}
	switch {
	case s.saved == 1:
		b.WriteString("  one picture with boxes saved\n")
	case s.saved > 1:
		fmt.Fprintf(&b, "  %d pictures with boxes saved\n", s.saved)
	}
	return b.String()
}

// size is how much was looked at, and how long that took.
func (s *summary) size() string {
	var b strings.Builder
	if s.Width > 0 {
		fmt.Fprintf(&b, "%d×%d, ", s.Width, s.Height)
	}
	if !s.video && s.Outcome == wire.Done {
		fmt.Fprintf(&b, "picture, %s", short(s.Took))
		return b.String()
	}
	fmt.Fprintf(&b, "%d of %d frames", s.Frames, s.Decoded)
	if s.Known {
		b.WriteString(", known to the hub")
	} else {
		fmt.Fprintf(&b, " in %s (%.3g frames/s)", short(s.Took), float64(s.Decoded)/max(s.Took.Seconds(), 1e-3))
	}
	if s.Lost > 0 {
		fmt.Fprintf(&b, ", damaged units: %d", s.Lost)
	}
	if s.Dropped > 0 {
		fmt.Fprintf(&b, ", dropped: %d", s.Dropped)
	}
	if s.Outcome != wire.Done {
		fmt.Fprintf(&b, ", %s before its end", s.Outcome)
	}
	return b.String()
}

// byCount are the labels, the most frequent first.
func (s *summary) byCount() []string {
	labels := slices.Clone(s.order)
	slices.SortStableFunc(labels, func(a, b string) int { return cmp.Compare(s.Objects[b].Count, s.Objects[a].Count) })
	return labels
}

// short is a time for people.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d:%02d h", int(d.Hours()), int(d.Minutes())%60)
	}
}

package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"detections/session/wire"
)

// TestE2EObjectsAreFollowed on real people: who is seen at two times of the clip, far
// apart, has one number.
func TestE2EObjectsAreFollowed(t *testing.T) {
	s := cli(t, "detect", "--local", "--track", "--labels", "person,car", "--format", "ndjson", media(t, "people.mp4"))
	if s.status != 0 {
		t.Fatalf("exit status %d: %s", s.status, s.err)
	}
	frames := map[string]map[int64]int{} // label → number → frames
	for line := range strings.Lines(s.out) {
		var m wire.Detections
		if err := json.Unmarshal([]byte(line), &m); err != nil || m.Type != wire.TypeDetections {
			continue
		}
		for _, d := range m.Detections {
			if d.Track == 0 {
				continue // seen for the first time
			}
			if frames[d.Label] == nil {
				frames[d.Label] = map[int64]int{}
			}
			frames[d.Label][d.Track]++
		}
	}
	long := 0
	for _, n := range frames["person"] {
		if n >= 50 {
			long++
		}
	}
	if cars := frames["car"]; len(cars) != 2 || long < 4 || len(frames["person"]) > 12 {
		t.Errorf("two parked cars and some ten people, five of them to be seen for long, are %v", frames)
	}
}

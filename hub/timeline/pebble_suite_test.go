package timeline_test

import (
	"os"
	"path/filepath"
	"testing"

	"detections/hub/timeline"
	"detections/hub/timeline/timelinetest"
)

func TestPebble(t *testing.T) {
	for name, sync := range map[string]timeline.Sync{"always": timeline.Always, "interval": timeline.Interval} {
		t.Run(name, func(t *testing.T) {
			dirs := map[timeline.Store]string{}
			open := func(t *testing.T, dir string) timeline.Store {
				s, err := timeline.OpenPebble(dir, timeline.Options{Sync: sync})
				if err != nil {
					t.Fatal(err)
				}
				dirs[s] = dir
				return s
			}
			timelinetest.Run(t,
				func(t *testing.T) timeline.Store { return open(t, filepath.Join(t.TempDir(), "store")) },
				func(t *testing.T, s timeline.Store) timeline.Store {
					moved := dirs[s] + "-moved" // a data directory need not stay where it is
					if err := os.Rename(dirs[s], moved); err != nil {
						t.Fatal(err)
					}
					return open(t, moved)
				})
		})
	}
}

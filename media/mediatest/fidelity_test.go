//go:build cgo

package mediatest_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"detections/media"
	"detections/media/mediatest"
	"detections/media/worker"
)

// TestFidelityOfContainers: the same stream gives the same pixels out of every
// container, and the times that ffprobe, of another build, reads there.
func TestFidelityOfContainers(t *testing.T) {
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	all := func(name string) mediatest.Run {
		f, size := mediatest.Open(t, name)
		d, err := pool.Start(t.Context(), f, media.Job{Views: []media.View{mediatest.View}})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		d.Grow(size, true)
		return mediatest.Drain(t, d, nil)
	}
	want := all("people.mp4")
	for _, c := range mediatest.Files {
		if !c.H264 {
			continue
		}
		r := all(c.Name)
		if r.Err != nil || !slices.Equal(r.Sums, want.Sums) {
			t.Errorf("%s: %d pictures, not those of people.mp4, err %v", c.Name, len(r.Frames), r.Err)
		}
		if slices.Contains([]string{media.AVI, media.H264, media.MPEGPS}, c.Container) {
			continue // not every picture has a time there
		}
		var got []string
		for _, f := range r.Frames {
			got = append(got, fmt.Sprintf("%.6f", f.PTS.Seconds()))
		}
		if probed := probe(t, c.Name); !slices.Equal(got, probed) {
			t.Errorf("%s: times %v, ffprobe has %v", c.Name, got, probed)
		}
	}
}

// probe returns the presentation times of a file's packets, in order.
func probe(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0", mediatest.Path(t, name)).Output()
	if err != nil {
		t.Fatal(err)
	}
	times := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' || r == ',' })
	slices.SortFunc(times, func(a, b string) int {
		x, _ := strconv.ParseFloat(a, 64)
		y, _ := strconv.ParseFloat(b, 64)
		return int(1e6*x) - int(1e6*y)
	})
	return times
}

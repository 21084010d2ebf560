package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"detections/hub/outbox/outboxtest"
)

// pictures are those that the service has of a session in the end, by frame.
func (a *annotations) pictures(session string) map[int64]outboxtest.Picture {
	a.t.Helper()
	stored := a.awaitStored(session, 1)
	for stored[len(stored)-1].Type != "end" {
		stored = a.awaitStored(session, len(stored)+1)
	}
	all := map[int64]outboxtest.Picture{}
	for _, e := range stored {
		var m answer
		if err := json.Unmarshal([]byte(e.Body), &m); err != nil {
			a.t.Fatal(err)
		}
		if e.Picture != nil {
			all[m.Frame] = *e.Picture
		}
	}
	return all
}

// unlike is the mean difference of two pictures of one size, from 0 to 255.
func unlike(t *testing.T, a, b image.Image) float64 {
	t.Helper()
	if a.Bounds() != b.Bounds() {
		t.Fatalf("a picture of %v, not %v", a.Bounds(), b.Bounds())
	}
	sum, n := 0.0, 0
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y += 3 {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x += 3 {
			r, g, b1, _ := a.At(x, y).RGBA()
			s, h, b2, _ := b.At(x, y).RGBA()
			for _, d := range []int{int(r) - int(s), int(g) - int(h), int(b1) - int(b2)} {
				sum += math.Abs(float64(d)) / 257
				n++
			}
		}
	}
	return sum / float64(n)
}

// TestE2EPicturesAreThoseOfTheirFrames compares pictures with what another decoder has
// made of the frames: each is like its own, and less like its neighbours.
func TestE2EPicturesAreThoseOfTheirFrames(t *testing.T) {
	a := newAnnotations(t)
	p := serve(t, "--annotations-url", a.url, "--annotations-pictures", "full", "--annotations-picture-labels", "person")
	p.await("engine ready")
	var references []image.Image
	for i := range 5 {
		img, err := png.Decode(bytes.NewReader(read(t, fmt.Sprintf("reference-%d.png", i+1))))
		if err != nil {
			t.Fatal(err)
		}
		references = append(references, img)
	}
	got := a.pictures(p.file("plain.mp4", "every=4")[0].Session)
	if frames := slices.Sorted(maps.Keys(got)); !slices.Equal(frames, []int64{0, 4, 8, 12, 16}) {
		t.Fatalf("pictures of the frames %v", frames)
	}
	for frame, picture := range got {
		img, err := jpeg.Decode(bytes.NewReader(picture.JPEG))
		if err != nil {
			t.Fatal(err)
		}
		own := unlike(t, img, references[frame/4])
		t.Logf("frame %d, %d bytes: %.2f from its own", frame, len(picture.JPEG), own)
		for i, other := range references {
			if int64(i) != frame/4 && unlike(t, img, other) < own+1 || own > 3 {
				t.Errorf("frame %d is %.2f from its own, %.2f from frame %d", frame, own, unlike(t, img, other), 4*i)
			}
		}
	}
}

// TestE2EPicturesSurviveAKill kills the hub while the service is not there. The next
// one takes the same pictures, from media in every kind of container.
func TestE2EPicturesSurviveAKill(t *testing.T) {
	files := []string{"people-bframes.mp4", "people.ts", "open-gop-hevc.mp4", "people-vp9.webm", "people-moov-end.mp4"}
	args := func(a *annotations) []string {
		return []string{"--annotations-url", a.url, "--annotations-pictures", "thumbnail", "--annotations-picture-confidence", "0"}
	}
	upload := func(p *process) (sessions []string) {
		for _, name := range files {
			sessions = append(sessions, p.file(name, "every=9")[0].Session)
		}
		return sessions
	}
	golden := newAnnotations(t)
	undisturbed := serve(t, args(golden)...)
	undisturbed.await("engine ready")
	want := upload(undisturbed)

	a, dir := newAnnotations(t), t.TempDir()
	a.fault.Store(int32(outboxtest.Store500)) // it stores, and says it did not
	p := onSamePlace(t, "127.0.0.1:0", dir, args(a)...)
	p.await("engine ready")
	sessions := upload(p)
	p.signal(syscall.SIGKILL)
	<-p.done
	a.fault.Store(int32(outboxtest.None))
	onSamePlace(t, "127.0.0.1:0", dir, args(a)...)
	for i, id := range sessions {
		before, after := golden.pictures(want[i]), a.pictures(id)
		if len(before) < 2 || !maps.EqualFunc(before, after, func(a, b outboxtest.Picture) bool { return bytes.Equal(a.JPEG, b.JPEG) }) {
			t.Errorf("%s: %d pictures, and after a kill %d, or others", files[i], len(before), len(after))
		}
	}
	for _, service := range []*annotations{golden, a} {
		for _, v := range service.Violations() {
			t.Error("violation: ", v[:min(len(v), 300)])
		}
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(dir, "spool", "*"))
		if err == nil && len(left) == 0 {
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("left in the spool: %v %v", left, err)
		}
	}
}

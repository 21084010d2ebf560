//go:build cgo

package mediatest_test

import (
	"os"
	"testing"

	"detections/media"
	"detections/media/av"
	"detections/media/mediatest"
	"detections/media/worker"
)

var rules = []media.Sample{{}, {Every: 3}, {FPS: 2}}

func inProcess(t testing.TB, file *os.File, job media.Job) media.Decoder {
	d, err := av.Open(file, job)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestResumeAfterAnyFrame(t *testing.T) {
	long(t)
	mediatest.TestResume(t, inProcess, "open-gop.mp4", media.Sample{}, mediatest.EveryFrame)
}

func TestResumeWhereverDecodingCanBeginAgain(t *testing.T) {
	long(t)
	for i, c := range mediatest.Restarts {
		mediatest.TestResume(t, inProcess, c.Name, rules[i%len(rules)], mediatest.AroundKeys)
	}
	for _, rule := range rules {
		mediatest.TestResume(t, inProcess, "open-gop.ts", rule, mediatest.AroundKeys)
		mediatest.TestResume(t, inProcess, "people-corrupt.mp4", rule, mediatest.AroundKeys)
	}
}

func TestResumeInEveryContainer(t *testing.T) {
	long(t)
	for i, c := range mediatest.Files {
		if c.Frames > 1 {
			mediatest.TestResume(t, inProcess, c.Name, rules[i%len(rules)], func(r mediatest.Run) []int { return []int{len(r.Frames) * 3 / 4} })
		}
	}
}

func TestResumeInProcesses(t *testing.T) {
	long(t)
	pool := worker.NewPool(worker.Config{})
	defer pool.Close()
	start := func(t testing.TB, file *os.File, job media.Job) media.Decoder {
		d, err := pool.Start(t.Context(), file, job)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, name := range []string{"open-gop-hevc.mp4", "people.avi", "joined-other.ts"} {
		mediatest.TestResume(t, start, name, media.Sample{Every: 3}, mediatest.AroundKeys)
	}
}

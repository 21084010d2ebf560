//go:build cgo

package main

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/session/wire"
)

// Whatever becomes of the process that tries a model is one clear sentence.
func TestWhatBecameOfAChildIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		memory int64
		want   string
	}{
		"refused":    {script: `echo "noise" >&2; echo "detections: people: no head reads it" >&2; exit 1`, want: "people: no head reads it"},
		"crashed":    {script: `kill -SEGV $$`, want: "it crashed the process that tried it (segmentation fault)"},
		"killed":     {script: `kill -KILL $$`, want: "it crashed the process that tried it (killed)"},
		"no memory":  {script: `echo "std::bad_alloc" >&2; kill -ABRT $$`, memory: 3 << 30, want: "it needs more memory than there is: expected at most 3.0 GiB for each engine"},
		"go's panic": {script: `echo "fatal error: something" >&2; exit 2`, want: "exit status 2): fatal error: something"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", "ulimit -c 0; "+c.script)
			var said strings.Builder
			cmd.Stderr = &said
			err := childJob{memory: c.memory}.explain(cmd.Run(), said.String())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// A child in spare time goes on while there is some, and no longer.
func TestAChildThatGetsNoTimeIsEnded(t *testing.T) {
	for share, want := range map[float64]time.Duration{0: time.Second, 0.09: time.Second, 0.11: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			ctx, over := context.WithTimeout(t.Context(), time.Hour)
			defer over()
			ctx, end := context.WithCancelCause(ctx)
			begun := time.Now()
			starve(ctx, time.Second, func() time.Duration { return time.Duration(share * float64(time.Since(begun))) }, end)
			if d := time.Since(begun); d != want || errors.Is(context.Cause(ctx), errStarved) != (d < time.Hour) {
				t.Errorf("with %.0f %% of a processor it ended after %v: %v", 100*share, d, context.Cause(ctx))
			}
		})
	}
}

func TestGoldenPicturesAreCompared(t *testing.T) {
	seen := []wire.Detection{{Label: "cat", Confidence: 0.8, Box: [4]wire.Pixels{10, 10, 100, 100}}}
	box := [4]float64{10, 10, 100, 100}
	for want, g := range map[string]golden{
		"":                  {Expect: []goldenBox{{Label: "cat", Box: box, Confidence: 0.8, IoU: 1}}},
		"expected dog":      {Expect: []goldenBox{{Label: "dog", Box: box}}},
		"found at most 0.":  {Expect: []goldenBox{{Label: "cat", Box: [4]float64{80, 80, 100, 100}}}},
		"found at most 0.0": {Expect: []goldenBox{{Label: "cat", Box: box, Confidence: 0.9}}},
		"expected nothing":  {Nothing: true},
	} {
		if err := g.compare(seen); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := (&golden{Nothing: true}).compare(nil); err != nil {
		t.Error(err)
	}
}

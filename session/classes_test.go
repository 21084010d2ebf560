package session_test

import (
	"testing"
	"testing/synctest"

	"detections/infer"
	"detections/infer/infertest"
	"detections/session/wire"
)

// What is told, by class, is what reaches the class's threshold, or the one that the
// session asked for; whether objects are followed or not.
func TestThresholdsOfClassesHoldUntilTheSessionAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		least := func(start wire.Start) (all [2]float64, c wire.DetectInForce) {
			engine := crowd()
			engine.Thresholds = []float32{0.25, 0.85, infer.DefaultThreshold}
			r := begin(t, options{staged: true, start: start, engines: []infertest.Config{engine}})
			r.upload(video(200))
			events, _ := r.finish()
			all = [2]float64{1, 1}
			for _, e := range results(events) {
				for _, d := range e.Detections {
					all[d.Class] = min(all[d.Class], float64(d.Confidence))
				}
			}
			return all, configured(events)[0].Detect
		}
		for _, track := range []bool{false, true} {
			if got, c := least(wire.Start{Track: track}); got != [2]float64{float64(float32(0.3)), float64(float32(0.9))} || c.Asked {
				t.Errorf("nothing asked: from %v, %+v", got, c)
			}
			ask := &wire.Detect{Threshold: new(0.45)}
			if got, c := least(wire.Start{Track: track, Detect: ask}); got != [2]float64{float64(float32(0.8)), float64(float32(0.8))} || !c.Asked {
				t.Errorf("0.45 asked: from %v, %+v", got, c)
			}
		}
	})
}

package web_test

import (
	"context"
	"fmt"
	"testing"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/wire"
)

// Who follows the live tail sees how far the engine is, from the first moment on.
func TestTailTellsHowFarTheEngineIs(t *testing.T) {
	t.Parallel()
	step := make(chan struct{})
	s := newHouse(t, options{load: func(_ context.Context, report func(hub.Availability, float64)) (*infer.Batcher, error) {
		report(hub.Downloading, 40)
		<-step
		report(hub.Converting, 0)
		<-step
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}})
	}})
	tail := s.events(s.get("/detect/stream"))
	for _, want := range []string{
		"waiting_for_engine DOWNLOADING 40", "waiting_for_engine CONVERTING 0", "running ENABLED 100",
	} {
		tail.until(want, func(m message) bool {
			return m.Type == wire.TypeState && m.AI != nil && m.Session == "" &&
				fmt.Sprintf("%s %s %v", m.State, m.AI.Availability, *m.AI.Percent) == want
		})
		if want != "running ENABLED 100" {
			step <- struct{}{}
		}
	}
	s.works()
	tail.until("a result", func(m message) bool { return m.Type == wire.TypeDetections && m.Session != "" })
}

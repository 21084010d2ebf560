package infertest_test

import (
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

func TestFakeEngine(t *testing.T) {
	infertest.TestEngine(t, func(*testing.T) infer.Engine { return infertest.NewEngine(infertest.Config{}) })
}

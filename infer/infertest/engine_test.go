package infertest_test

import (
	"testing"

	"detections/infer/infertest"
)

func TestFakeEngine(t *testing.T) {
	infertest.TestEngine(t, infertest.NewEngine(infertest.Config{}))
}

package infertest_test

import (
	"fmt"
	"testing"

	"detections/infer"
	"detections/infer/infertest"
)

func TestFakeEngine(t *testing.T) {
	for _, typ := range []infer.Type{infer.Float32, infer.Float16, infer.Uint8} {
		for _, layout := range []infer.Layout{infer.NCHW, infer.NHWC} {
			t.Run(fmt.Sprint(typ, " ", layout), func(t *testing.T) {
				infertest.TestEngine(t, infertest.NewEngine(infertest.Config{Type: typ, Layout: layout}))
			})
		}
	}
}

package rtc

import (
	"bytes"
	"testing"

	"github.com/pion/rtp/codecs"
)

func TestUnitsOfH264ComeOutOfPayloadsAsTheyWentIn(t *testing.T) {
	var picture []byte
	for i, unit := range [][]byte{{0x67, 1, 2}, {0x68, 3}, bytes.Repeat([]byte{0x65}, 5000), bytes.Repeat([]byte{0x41}, 1200), {0x41, 9}} {
		picture = append(append(picture, 0, 0, 0, 1), unit...)
		picture[len(picture)-1] = byte(i + 2)
	}
	var h h264
	var got []byte
	kinds := map[byte]bool{}
	for _, p := range (&codecs.H264Payloader{}).Payload(1000, picture) {
		kinds[p[0]&0x1f] = true
		var err error
		if got, err = h.payload(got, p); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, picture) || !kinds[stapUnit] || !kinds[fuaUnit] || !kinds[sliceUnit] {
		t.Errorf("%d bytes out of %d, payloads of the kinds %v", len(got), len(picture), kinds)
	}
}

func TestBrokenPayloadsOfH264AreRejected(t *testing.T) {
	for what, payloads := range map[string][][]byte{
		"nothing":                            {{}},
		"a header only":                      {{0x41}},
		"an aggregation that is cut off":     {{stapUnit, 0, 9, 1}},
		"a fragment without a beginning":     {{fuaUnit, 0x01, 1}},
		"two beginnings":                     {{fuaUnit, 0x81, 1}, {fuaUnit, 0x81, 1}},
		"a unit between fragments":           {{fuaUnit, 0x81, 1}, {0x41, 1}},
		"a kind of packetization-mode 2":     {{25, 0, 0, 1}},
		"fragments that begin after the end": {{fuaUnit, 0x81, 1}, {fuaUnit, 0x41, 1}, {fuaUnit, 0x01, 1}},
	} {
		var h h264
		var b []byte
		var err error
		for _, p := range payloads {
			b, err = h.payload(b, p)
		}
		if err == nil {
			t.Errorf("%s: %x", what, b)
		}
	}
}

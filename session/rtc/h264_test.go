package rtc

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"
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
		"nothing":                        {{}},
		"a header only":                  {{0x41}},
		"an aggregation that is cut off": {{stapUnit, 0, 9, 1}},
		"a kind of packetization-mode 2": {{25, 0, 0, 1}},
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

func TestAFrameThatDoesNotEndIsGivenUp(t *testing.T) {
	for c, headers := range map[codec][2][3]byte{
		&h264{}: {{fuaUnit, 0x80 | idrUnit, 0x80}, {fuaUnit, idrUnit}},
		&av1{}:  {{0x50, 0x30}, {0xd0}}, // one element, that goes on (Y) and is gone on with (Z)
	} {
		begin, within := headers[0], headers[1]
		fr := newFrames(c, time.Second)
		var why []error
		fr.rejected = func(err error) { why = append(why, err) }
		now := time.Unix(0, 0)
		for i := range 2 * maxFrame / 60_000 {
			body := make([]byte, 60_000)
			copy(body, within[:])
			if i == 0 {
				copy(body, begin[:])
			}
			fr.push(&rtp.Packet{Header: rtp.Header{SequenceNumber: uint16(i), Timestamp: 1}, Payload: body}, now)
			if f, ok := fr.pop(now); ok {
				t.Errorf("%s: a frame of %d bytes", c.name(), len(f.data))
			}
		}
		if len(why) != 1 || !errors.Is(why[0], errSize) {
			t.Errorf("%s: rejected %v", c.name(), why)
		}
	}
}

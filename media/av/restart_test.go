package av

import (
	"testing"

	"github.com/asticode/go-astiav"
)

func TestHeadOf(t *testing.T) {
	for name, c := range map[string]struct {
		codec   astiav.CodecID
		lengths int
		packet  string
		want    head
	}{
		"IDR":                 {astiav.CodecIDH264, 0, "\x00\x00\x00\x01\x67a\x00\x00\x01\x68b\x00\x00\x01\x65c", head{true, true, 2}},
		"a recovery point":    {astiav.CodecIDH264, 0, "\x00\x00\x01\x06a\x00\x00\x01\x41b\x00\x00\x01\x67c", head{true, false, 0}},
		"IDR behind a length": {astiav.CodecIDH264, 2, "\x00\x02\x67a\x00\x02\x65c", head{true, true, 1}},
		"a torn length":       {astiav.CodecIDH264, 4, "\x00\x00\x00\x09\x67a", head{}},
		"CRA":                 {astiav.CodecIDHevc, 0, "\x00\x00\x01\x40a\x00\x00\x01\x42a\x00\x00\x01\x44a\x00\x00\x01\x2ab", head{true, false, 3}},
		"a trailing picture":  {astiav.CodecIDHevc, 0, "\x00\x00\x01\x02a", head{}},
		"a sequence header":   {astiav.CodecIDMpeg2Video, 0, "\x00\x00\x01\xb3a\x00\x00\x01\xb8b\x00\x00\x01\x00c\x00\x00\x01\xb3", head{true, true, 1}},
		"AV1":                 {astiav.CodecIDAv1, 0, "\x12\x00\x0a\x01a\x32\x01b\x0a\x01c", head{true, true, 1}},
		"what keeps things":   {astiav.CodecIDMpeg4, 0, "\x00\x00\x01\xb6a", head{}},
	} {
		if got := headOf(c.codec, c.lengths, true, []byte(c.packet)); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func FuzzHeadOf(f *testing.F) {
	f.Add([]byte("\x12\x00\x0a\x01a\x32\xff\xff\xff\xff\x0f"), 0)
	f.Fuzz(func(t *testing.T, b []byte, lengths int) {
		for _, codec := range codecs {
			if h := headOf(codec, lengths&3, true, b); h.sets > len(b) {
				t.Errorf("%d parameter sets in %d bytes", h.sets, len(b))
			}
			if n := lengthsOf(codec, b); n < 0 || n > 4 {
				t.Errorf("lengths of %d bytes", n)
			}
		}
	})
}

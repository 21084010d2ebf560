package rtc

import (
	"errors"
	"strings"

	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// codec takes a stream's payloads apart.
type codec interface {
	// name is the one of media.UnitCodecs.
	name() string
	// begins says whether a frame begins with this payload. Asked only after a loss.
	begins(payload []byte) bool
	// payload appends what a payload holds.
	payload(b, payload []byte) ([]byte, error)
	// reset forgets what was begun.
	reset()
	// complete gives a frame as a decoder takes it, and whether it needs no other.
	complete(b []byte) (data []byte, key bool)
}

// newCodec is the codec of a track; nil: it is not offered.
func newCodec(p webrtc.RTPCodecParameters) codec {
	switch strings.ToLower(p.MimeType) {
	case strings.ToLower(webrtc.MimeTypeH264):
		return &h264{sets: parameterSets(p.SDPFmtpLine)}
	case strings.ToLower(webrtc.MimeTypeVP8):
		return &vp8{}
	case strings.ToLower(webrtc.MimeTypeVP9):
		return &vp9{}
	case strings.ToLower(webrtc.MimeTypeAV1):
		return &av1{}
	}
	return nil
}

var (
	errPayload = errors.New("rtc: payload of the wrong form")
	errSize    = errors.New("rtc: a frame without end")
)

type vp8 struct{ p codecs.VP8Packet }

func (*vp8) name() string { return "vp8" }

func (*vp8) begins(payload []byte) bool { // start of the first partition
	return len(payload) > 1 && payload[0]&0x17 == 0x10
}

func (v *vp8) payload(b, payload []byte) ([]byte, error) {
	data, err := v.p.Unmarshal(payload)
	return append(b, data...), err
}

func (*vp8) reset() {}

func (*vp8) complete(b []byte) ([]byte, bool) { return b, b[0]&1 == 0 }

type vp9 struct{ p codecs.VP9Packet }

func (*vp9) name() string { return "vp9" }

func (v *vp9) begins(payload []byte) bool {
	var p codecs.VP9Packet
	if _, err := p.Unmarshal(payload); err != nil {
		return false
	}
	return p.B && p.SID == 0
}

// payload takes the base layer: those above it are other sizes of the same picture.
func (v *vp9) payload(b, payload []byte) ([]byte, error) {
	v.p = codecs.VP9Packet{}
	data, err := v.p.Unmarshal(payload)
	if err != nil || v.p.SID > 0 {
		return b, err
	}
	return append(b, data...), nil
}

func (*vp9) reset() {}

// complete reads the first byte of the uncompressed header: a marker of two bits, the
// profile in two (three for the highest), whether an old picture is shown again, and
// the kind of this one.
func (*vp9) complete(b []byte) ([]byte, bool) {
	kind := b[0] << 4
	if b[0]>>4&3 == 3 {
		kind <<= 1
	}
	return b, b[0]>>6 == 2 && kind&0xc0 == 0
}

type av1 struct{ p codecs.AV1Depacketizer }

func (*av1) name() string { return "av1" }

func (*av1) begins(payload []byte) bool { return len(payload) > 1 && payload[0]&0x80 == 0 }

func (a *av1) payload(b, payload []byte) ([]byte, error) {
	data, err := a.p.Unmarshal(payload)
	return append(b, data...), err
}

func (a *av1) reset() { a.p = codecs.AV1Depacketizer{} }

// complete puts a temporal delimiter, which RTP leaves out, in front. A sequence
// header comes with key frames.
func (*av1) complete(b []byte) ([]byte, bool) {
	key := false
	for rest := b; len(rest) > 0 && !key; {
		kind, size := obu(rest)
		key = kind == 1
		if size == 0 {
			break
		}
		rest = rest[size:]
	}
	return append([]byte{0x12, 0}, b...), key
}

// obu is the kind and size of the OBU that b begins with, which has its size; 0: it is torn.
func obu(b []byte) (kind byte, size int) {
	head := 1
	if b[0]&4 != 0 {
		head = 2
	}
	n := 0
	for i := 0; i < 4 && head+i < len(b); i++ {
		c := b[head+i]
		n |= int(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			if size := head + i + 1 + n; size <= len(b) {
				return b[0] >> 3 & 15, size
			}
			break
		}
	}
	return b[0] >> 3 & 15, 0
}

package rtc

import (
	"bytes"
	"encoding/base64"
	"strings"

	"github.com/pion/rtp/codecs"
)

// h264 keeps what is begun of a unit in the library's packet: frames bounds it.
type h264 struct {
	p    codecs.H264Packet
	sets []byte // parameter sets out of the SDP, with start codes
}

func (*h264) name() string { return "h264" }

// Kinds of units of H.264.
const (
	sliceUnit = 1
	idrUnit   = 5
	seiUnit   = 6
	spsUnit   = 7
	audUnit   = 9
	stapUnit  = 24
	fuaUnit   = 28
)

func (*h264) begins(payload []byte) bool {
	if len(payload) < 4 {
		return false
	}
	kind, slice := payload[0]&0x1f, payload[1]
	switch kind {
	case stapUnit:
		kind, slice = payload[3]&0x1f, 0x80
	case fuaUnit:
		if payload[1]&0x80 == 0 { // not its start
			return false
		}
		kind, slice = payload[1]&0x1f, payload[2]
	}
	switch kind {
	case seiUnit, spsUnit, audUnit:
		return true
	case sliceUnit, idrUnit:
		return slice&0x80 != 0 // of the first macroblock
	}
	return false
}

func (h *h264) payload(b, payload []byte) ([]byte, error) {
	if len(payload) < 2 {
		return b, errPayload
	}
	data, err := h.p.Unmarshal(payload)
	return append(b, data...), err
}

func (h *h264) reset() { h.p = codecs.H264Packet{} }

func (h *h264) complete(b []byte) ([]byte, bool) {
	key, sets := false, false
	for rest := b; ; {
		i := bytes.Index(rest, []byte{0, 0, 1})
		if i < 0 || i+3 >= len(rest) {
			break
		}
		kind := rest[i+3] & 0x1f
		key, sets = key || kind == idrUnit, sets || kind == spsUnit
		if kind == idrUnit || kind == sliceUnit {
			break // what follows is more of the same
		}
		rest = rest[i+3:]
	}
	if key && !sets {
		b = append(bytes.Clone(h.sets), b...)
	}
	return b, key
}

// parameterSets are those that an offer has.
func parameterSets(fmtp string) (b []byte) {
	for f := range strings.SplitSeq(fmtp, ";") {
		list, ok := strings.CutPrefix(strings.TrimSpace(f), "sprop-parameter-sets=")
		if !ok {
			continue
		}
		for text := range strings.SplitSeq(list, ",") {
			if unit, err := base64.StdEncoding.DecodeString(text); err == nil && len(unit) > 0 {
				b = append(append(b, 0, 0, 0, 1), unit...)
			}
		}
	}
	return b
}

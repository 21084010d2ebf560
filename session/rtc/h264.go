package rtc

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// h264 takes payloads apart by RFC 6184 itself: the library copies each fragment some
// times over, which was two thirds of what a session allocates.
type h264 struct {
	sets []byte // parameter sets out of the SDP, with start codes
	torn bool   // the frame so far ends within a unit
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

// fragmentHeader is how long the two headers of a fragment are, in bytes.
const fragmentHeader = 2

func (h *h264) payload(b, payload []byte) ([]byte, error) {
	if len(payload) < fragmentHeader {
		return b, errPayload
	}
	switch kind := payload[0] & 0x1f; {
	case kind == fuaUnit:
		return h.fragment(b, payload)
	case h.torn:
		return b, errPayload
	case kind == stapUnit:
		return units(b, payload[1:])
	case kind == 0 || kind > stapUnit:
		return b, errPayload
	}
	return append(append(b, startCode...), payload...), nil
}

var startCode = []byte{0, 0, 0, 1}

// fragment appends a part of a unit.
func (h *h264) fragment(b, payload []byte) ([]byte, error) {
	begins, ends := payload[1]&0x80 != 0, payload[1]&0x40 != 0
	if begins == h.torn {
		return b, errPayload
	}
	if begins {
		b = append(append(b, startCode...), payload[0]&0xe0|payload[1]&0x1f)
	}
	h.torn = !ends
	return append(b, payload[fragmentHeader:]...), nil
}

// units appends the units of an aggregation.
func units(b, rest []byte) ([]byte, error) {
	for len(rest) >= 2 {
		size := int(rest[0])<<8 | int(rest[1])
		if rest = rest[2:]; size > len(rest) {
			return b, errPayload
		}
		b = append(append(b, startCode...), rest[:size]...)
		rest = rest[size:]
	}
	return b, nil
}

func (h *h264) reset() { h.torn = false }

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

package av

import (
	"bytes"
	"slices"

	"github.com/asticode/go-astiav"
)

// restarts remembers where decoding can begin again: at a key packet from which a
// decoder that saw nothing else gives the same pictures as one that saw everything.
type restarts struct {
	key  place   // where to begin for the latest picture
	next place   // the latest key whose picture has come
	sent []place // later ones, whose picture has not come
	sets int     // parameter sets in one packet, at most
	lost bool    // the header has changed midway: no packet brings it again
}

// place is a key packet.
type place struct {
	packet int64
	delay  int64 // of H.264 before it: AVCodecContext.has_b_frames
	// closed says that no picture after the key's refers to one before it.
	closed bool
}

// maxKeys bounds the key packets whose picture is awaited: more than any reordering.
const maxKeys = 64

// opened begins a codec.
func (r *restarts) opened() {
	r.sent, r.sets, r.lost = nil, 0, false
	if r.key.packet == 0 {
		r.key.packet, r.next.packet = 1, 1
	}
}

// note notes a packet by what it begins with.
func (r *restarts) note(h head, p place) {
	r.sets = max(r.sets, h.sets)
	if !h.key || h.sets < r.sets || r.lost {
		return
	}
	if len(r.sent) >= maxKeys {
		r.sent = slices.Delete(r.sent, 0, 1)
	}
	p.closed = h.closed
	r.sent = append(r.sent, p)
}

// received notes a picture by the number of its packet.
func (r *restarts) received(packet int64, intra bool) {
	i := slices.IndexFunc(r.sent, func(p place) bool { return p.packet == packet })
	if i < 0 {
		return
	}
	p := r.sent[i]
	r.sent = slices.Delete(r.sent, 0, i+1)
	switch {
	case !intra:
		return // the picture is refreshed bit by bit
	case p.closed:
		r.key = p
	default:
		// Those after it may name pictures before it as a reference and make no use of
		// them. A decoder that lacks them reports damage, so it begins one key earlier.
		r.key = r.next
	}
	r.next = p
}

// head is what a packet begins with.
type head struct {
	key    bool // decoding might begin here
	closed bool // see place
	sets   int  // parameter sets, or sequence headers
}

// headOf looks at a packet up to the first part of its picture. lengths is the size of
// the field before each unit of H.264 and HEVC; 0: they are behind start codes. Codecs
// that are not here keep things from before a key picture.
func headOf(codec astiav.CodecID, lengths int, isKey bool, b []byte) (h head) {
	switch codec {
	case astiav.CodecIDVp8, astiav.CodecIDVp9, astiav.CodecIDMjpeg:
		return head{key: isKey, closed: true}
	case astiav.CodecIDAv1:
		return head{key: isKey, closed: true, sets: sequenceHeaders(b)}
	case astiav.CodecIDMpeg1Video, astiav.CodecIDMpeg2Video:
		h = head{key: isKey, closed: true}
		for unit := range units(b, 0) {
			if unit[0] == 0 { // a picture
				break
			}
			if unit[0] == 0xb3 {
				h.sets++
			}
		}
	case astiav.CodecIDH264:
		for unit := range units(b, lengths) {
			kind := unit[0] & 0x1f
			if kind >= 1 && kind <= 5 { // a slice, of an IDR picture
				return head{key: isKey, closed: kind == 5, sets: h.sets}
			}
			if kind == 7 || kind == 8 {
				h.sets++
			}
		}
	case astiav.CodecIDHevc:
		for unit := range units(b, lengths) {
			kind := unit[0] >> 1 & 0x3f
			if kind < 32 { // a slice, of a BLA or IDR picture, or of CRA (21)
				return head{key: isKey && kind >= 16 && kind <= 21, closed: kind >= 16 && kind <= 20, sets: h.sets}
			}
			if kind >= 32 && kind <= 34 {
				h.sets++
			}
		}
	}
	return h
}

// units are the parts of a packet that are not empty, from their first byte on.
func units(b []byte, lengths int) func(yield func([]byte) bool) {
	if lengths == 0 {
		return behindStartCodes(b)
	}
	return func(yield func([]byte) bool) {
		for len(b) > lengths {
			size := 0
			for _, digit := range b[:lengths] {
				size = size<<8 | int(digit)
			}
			b = b[lengths:]
			if size < 1 || size > len(b) || !yield(b[:size]) {
				return
			}
			b = b[size:]
		}
	}
}

var startCode = []byte{0, 0, 1}

func behindStartCodes(b []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for {
			i := bytes.Index(b, startCode)
			if i < 0 || i+len(startCode) >= len(b) {
				return
			}
			if b = b[i+len(startCode):]; !yield(b) {
				return
			}
		}
	}
}

// sequenceHeaders counts those of an AV1 packet that come before its first picture.
func sequenceHeaders(b []byte) (n int) {
	for len(b) > 1 {
		kind, at := b[0]>>3&15, 1+int(b[0]>>2&1)
		switch {
		case kind == 1:
			n++
		case kind == 3 || kind == 6: // a frame's header, or a frame
			return n
		}
		if b[0]&2 == 0 { // without a size it is the last one
			return n
		}
		size := 0
		for shift := 0; shift < 35; shift += 7 {
			if at >= len(b) {
				return n
			}
			size |= int(b[at]&0x7f) << shift
			if at++; b[at-1] < 0x80 {
				break
			}
		}
		if size > len(b)-at {
			return n
		}
		b = b[at+size:]
	}
	return n
}

// lengthsOf is headOf's lengths, by the codec's header.
func lengthsOf(codec astiav.CodecID, header []byte) int {
	switch {
	case len(header) < 23 && codec == astiav.CodecIDHevc, len(header) < 5, header[0] != 1:
		return 0
	case codec == astiav.CodecIDH264:
		return int(header[4]&3) + 1
	case codec == astiav.CodecIDHevc:
		return int(header[21]&3) + 1
	}
	return 0
}

package client

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// outline finds out, as the bytes of a live stream pass, where a stream of its own
// could begin, and what it has to begin with. A live session that lost its connection
// goes on with that: with the header of the stream, and the next whole fragment of
// MP4, cluster of Matroska, and so on. Nothing else of the media is looked at.
type outline struct {
	form form // of the stream; zero: any byte will do

	begun    bool   // form is known
	pos      int64  // of the next byte that passes
	part     []byte // the last bytes, if they tell nothing by themselves
	skip     int64  // bytes that belong to the element before
	keep     bool   // they belong to the header
	header   []byte
	complete bool    // the header is
	media    bool    // there was media behind the last cut
	cuts     []int64 // ascending, never the first byte
}

// form is how a container is built. It is one of elements with a length, or one in
// which a pattern of bytes says where something begins.
type form struct {
	element  func(h []byte) (element, bool) // false: it needs more than these bytes
	patterns []string                       // all as long as the first
}

// element is a part of a stream.
type element struct {
	head int   // bytes that are read of it at once; the next element may begin behind them
	rest int64 // bytes behind that
	role role
	as   []byte // what to keep instead of head; nil: head
}

// role is what an element is for a stream that begins anew.
type role int

const (
	other     role = iota
	beginning      // of the whole stream: it is the first part of the header
	setup          // part of the header
	cut            // here it can begin
	lead           // here it can begin, if there was media since the last cut
	payload        // media
)

const (
	longestHead = 32 // bytes by which a form is recognised, and that an element needs
	maxHeader   = 1 << 20
	maxCuts     = 4096 // kept; when there are more, every second one goes
)

// nowhere is the form of a stream that cannot begin anew.
var nowhere = form{patterns: []string{"\x00no such bytes in any stream\x00"}}

func newOutline(container string) *outline {
	o := &outline{}
	if f, ok := formOf(container); ok {
		o.form, o.begun = f, true
	}
	return o
}

// pass takes the next bytes.
func (o *outline) pass(p []byte) {
	if !o.begun {
		o.part = append(o.part, p...)
		if o.pos += int64(len(p)); len(o.part) < longestHead {
			return
		}
		p, o.part, o.pos, o.begun = o.part, nil, 0, true
		o.form = recognise(p)
	}
	switch {
	case o.form.element != nil:
		o.walk(p)
	case o.form.patterns != nil:
		o.search(p)
	default:
		o.pos += int64(len(p))
	}
}

// walk goes from element to element.
func (o *outline) walk(p []byte) {
	if n := len(o.part); n > 0 {
		p = append(o.part, p...)
		o.pos -= int64(n)
		o.part = nil
	}
	for len(p) > 0 {
		if o.skip > 0 {
			n := min(o.skip, int64(len(p)))
			o.note(p[:n])
			o.skip -= n
			o.pos += n
			p = p[n:]
			continue
		}
		h := p[:min(len(p), longestHead)]
		e, ok := o.form.element(h)
		if !ok {
			if len(h) == longestHead { // it is not what it seemed to be
				o.form, o.cuts = nowhere, nil
			} else {
				o.part = bytes.Clone(p)
			}
			o.pos += int64(len(p))
			return
		}
		o.enter(e, h)
		n := min(e.head, len(p))
		o.skip = e.rest + int64(e.head-n)
		o.pos += int64(n)
		p = p[n:]
	}
}

// enter takes in an element that begins here.
func (o *outline) enter(e element, h []byte) {
	o.keep = false
	switch e.role {
	case beginning:
		o.header, o.cuts, o.complete = nil, nil, false
		fallthrough
	case setup:
		if o.complete {
			return // a repetition
		}
		o.keep = true
		if e.as == nil {
			e.as = h[:min(e.head, len(h))]
		}
		o.note(e.as)
	case cut:
		o.add(o.pos)
	case lead:
		if o.media || !o.complete {
			o.add(o.pos)
		}
		o.media = false
	case payload:
		o.media = true
	case other:
	}
}

// note adds to the header what belongs to it.
func (o *outline) note(p []byte) {
	if o.keep && len(o.header)+len(p) <= maxHeader {
		o.header = append(o.header, p...)
	}
}

// search looks for the patterns.
func (o *outline) search(p []byte) {
	size := len(o.form.patterns[0])
	all := append(o.part, p...)
	at := o.pos - int64(len(o.part))
	for i := 0; i+size <= len(all); i++ {
		if slices.Contains(o.form.patterns, string(all[i:i+size])) {
			o.add(at + int64(i))
		}
	}
	o.part = bytes.Clone(all[max(0, len(all)-size+1):])
	o.pos += int64(len(p))
}

// add notes that a stream can begin at a byte.
func (o *outline) add(at int64) {
	o.complete = true
	if at == 0 {
		return
	}
	if len(o.cuts) == maxCuts {
		for i := range maxCuts / 2 {
			o.cuts[i] = o.cuts[2*i+1]
		}
		o.cuts = o.cuts[:maxCuts/2]
	}
	o.cuts = append(o.cuts, at)
}

// next is the first place at or behind a byte where a stream can begin behind the
// header, if there is one yet. What is before the byte is not asked for again.
func (o *outline) next(from int64) (at int64, ok bool) {
	if o.begun && o.form.element == nil && o.form.patterns == nil {
		return from, true
	}
	i, _ := slices.BinarySearch(o.cuts, from)
	o.cuts = o.cuts[i:]
	if len(o.cuts) == 0 {
		return 0, false
	}
	return o.cuts[0], true
}

// unread is where what has passed is not understood yet.
func (o *outline) unread() int64 { return o.pos - int64(len(o.part)) }

// formOf is the form that belongs to a name of the protocol.
func formOf(container string) (form, bool) {
	switch container {
	case "mp4":
		return form{element: box}, true
	case "matroska", "webm":
		return form{element: ebml}, true
	case "flv":
		return form{element: flv}, true
	case "ivf":
		return form{element: ivf}, true
	case "h264": // sequence parameter sets
		return form{patterns: []string{"\x00\x00\x01\x67", "\x00\x00\x01\x47", "\x00\x00\x01\x27"}}, true
	case "hevc": // video parameter sets
		return form{patterns: []string{"\x00\x00\x01\x40\x01"}}, true
	case "obu": // a temporal delimiter with a sequence header behind it
		return form{patterns: []string{"\x12\x00\x0a"}}, true
	case "mjpeg":
		return form{patterns: []string{"\xff\xd8\xff"}}, true
	case "mpegts":
		return form{}, true
	}
	return form{}, false
}

// recognise tells the form by the first bytes; the hub is who decides what they are.
func recognise(h []byte) form {
	var name string
	code := bytes.TrimLeft(h[:8], "\x00")
	switch {
	case strings.Contains(" ftyp styp moov moof free skip wide sidx ", " "+string(h[4:8])+" "):
		name = "mp4"
	case bytes.HasPrefix(h, []byte("\x1a\x45\xdf\xa3")):
		name = "matroska"
	case bytes.HasPrefix(h, []byte("FLV\x01")):
		name = "flv"
	case bytes.HasPrefix(h, []byte("DKIF")):
		name = "ivf"
	case bytes.HasPrefix(h, []byte("\xff\xd8\xff")):
		name = "mjpeg"
	case bytes.HasPrefix(h, []byte("\x12\x00\x0a")):
		name = "obu"
	case h[0] != 0 || h[1] != 0 || len(code) < 3 || code[0] != 1:
	case code[1] == 0xba: // a program stream says too seldom what it holds
	case bytes.IndexByte([]byte{0x40, 0x42, 0x46, 0x4e}, code[1]) >= 0 && code[2] == 1:
		name = "hevc"
	default:
		name = "h264"
	}
	f, _ := formOf(name)
	return f
}

// box is one of ISO base media: a fragment begins with the first of the boxes that
// may stand before its moof.
func box(h []byte) (element, bool) {
	if len(h) < 8 {
		return element{}, false
	}
	e := element{head: 8}
	size := int64(binary.BigEndian.Uint32(h))
	switch size {
	case 0: // up to the end of the file
		size = 1 << 62
	case 1:
		if len(h) < 16 {
			return e, false
		}
		e.head, size = 16, int64(min(binary.BigEndian.Uint64(h[8:]), 1<<62))
	}
	switch string(h[4:8]) {
	case "ftyp":
		e.role = beginning
	case "moov":
		e.role = setup
	case "styp", "sidx", "emsg", "prft", "moof":
		e.role = lead
	case "mdat":
		e.role = payload
	}
	e.rest = size - int64(e.head)
	return e, e.rest >= 0
}

// The elements of Matroska that matter.
const (
	idEBML    = 0x1a45dfa3
	idSegment = 0x18538067
	idInfo    = 0x1549a966
	idTracks  = 0x1654ae6b
	idCluster = 0x1f43b675
)

// anyLength is a segment that ends when it ends.
var anyLength = []byte{0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ebml is an element of Matroska. Segments, and clusters without a length, are entered.
func ebml(h []byte) (element, bool) {
	if len(h) < 2 {
		return element{}, false
	}
	n := bits.LeadingZeros8(h[0]) + 1
	if n > 4 || len(h) <= n {
		return element{}, false
	}
	var id uint64
	for _, c := range h[:n] {
		id = id<<8 | uint64(c)
	}
	m := bits.LeadingZeros8(h[n]) + 1
	if m > 8 || len(h) < n+m {
		return element{}, false
	}
	size := uint64(h[n]) & (1<<(8-m) - 1)
	for _, c := range h[n+1 : n+m] {
		size = size<<8 | uint64(c)
	}
	e := element{head: n + m, rest: int64(size)}
	open := size == 1<<(7*m)-1
	switch id {
	case idEBML:
		e.role = beginning
	case idSegment:
		e.role, e.rest, e.as = setup, 0, anyLength
	case idInfo, idTracks:
		e.role = setup
	case idCluster:
		e.role = cut
	}
	if open {
		e.rest = 0
	}
	return e, true
}

// flv is the header of the file, or a tag. A stream begins with a key picture; the
// parameters of the decoders are in tags of their own before it.
func flv(h []byte) (element, bool) {
	if len(h) < 16 {
		return element{}, false
	}
	if string(h[:3]) == "FLV" {
		return element{head: 13, role: beginning}, true
	}
	const head, size = 11, 4 // and the length of the tag before behind it
	length := int64(h[1])<<16 | int64(h[2])<<8 | int64(h[3])
	e := element{head: head, rest: length + size}
	kind, first, second := h[0]&31, h[head], h[head+1]
	switch {
	case kind == 18, // a script
		kind == 8 && first>>4 == 10 && second == 0,
		kind == 9 && first&0x80 == 0 && (first&15 == 7 || first&15 == 12) && second == 0,
		kind == 9 && first&0x8f == 0x80:
		e.role = setup
	case kind == 9 && first>>4&7 == 1:
		e.role = cut
	}
	return e, kind == 8 || kind == 9 || kind == 18
}

// ivf is the header of the file, or a frame; where decoding can begin the decoder finds.
func ivf(h []byte) (element, bool) {
	if len(h) < 12 {
		return element{}, false
	}
	if string(h[:4]) == "DKIF" {
		return element{head: 32, role: beginning}, len(h) >= 32
	}
	return element{head: 12, rest: int64(binary.LittleEndian.Uint32(h)), role: cut}, true
}

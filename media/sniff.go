package media

import "bytes"

// The containers that are recognised and offered, by the names that clients see.
const (
	MP4      = "mp4" // and MOV, 3GP: ISO base media
	Matroska = "matroska"
	WebM     = "webm"
	MPEGTS   = "mpegts"
	JPEG     = "jpeg"
	PNG      = "png"
)

// Containers are the values that Job.Container can have.
var Containers = []string{MP4, Matroska, WebM, MPEGTS, JPEG, PNG}

// SniffLen is how many bytes Sniff looks at, at most.
const SniffLen = 4096

// Sniffed is what the first bytes of an input look like.
type Sniffed struct {
	// Container is one of Containers, or empty.
	Container string
	// Looks says what it is, in words, if it is not offered but known.
	Looks string
	// More says that more bytes are needed to tell.
	More bool
}

// Sniff recognises an input by its first bytes. final says that there are no more.
func Sniff(head []byte, final bool) Sniffed {
	head = head[:min(len(head), SniffLen)]
	if len(head) == SniffLen {
		final = true
	}
	if len(head) < 16 && !final {
		return Sniffed{More: true}
	}
	for _, f := range signatures {
		if f.match(head) {
			return Sniffed{Container: f.container, Looks: f.looks}
		}
	}
	if ok, more := isTransportStream(head, final); ok || more {
		return Sniffed{Container: MPEGTS, More: more}.known()
	}
	return Sniffed{Looks: looksOf(head), More: !final && isText(head)}
}

// known clears the container as long as more bytes are needed.
func (s Sniffed) known() Sniffed {
	if s.More {
		s.Container = ""
	}
	return s
}

// signature is one row of the table: what the first bytes must be, and what that
// means. Rows with a container are offered, the others only named.
type signature struct {
	container, looks string
	match            func(head []byte) bool
}

var signatures = []signature{
	{container: MP4, match: isISOMedia},
	{container: WebM, match: func(h []byte) bool { return isEBML(h) && bytes.Contains(h[:min(len(h), 64)], []byte("webm")) }},
	{container: Matroska, match: isEBML},
	{container: JPEG, match: at(0, "\xff\xd8\xff")},
	{container: PNG, match: at(0, "\x89PNG\r\n\x1a\n")},

	{looks: "a ZIP archive", match: at(0, "PK\x03\x04")},
	{looks: "a ZIP archive", match: at(0, "PK\x05\x06")},
	{looks: "gzip data", match: at(0, "\x1f\x8b")},
	{looks: "a 7z archive", match: at(0, "7z\xbc\xaf\x27\x1c")},
	{looks: "a PDF document", match: at(0, "%PDF-")},
	{looks: "an HLS playlist", match: at(0, "#EXTM3U")},
	{looks: "an FFmpeg concat script", match: at(0, "ffconcat")},
	{looks: "an SDP description", match: at(0, "v=0\r\n")},
	{looks: "a WAV file", match: riff("WAVE")},
	{looks: "an AVI file", match: riff("AVI ")},
	{looks: "a WebP picture", match: riff("WEBP")},
	{looks: "a GIF picture", match: at(0, "GIF8")},
	{looks: "a BMP picture", match: at(0, "BM")},
	{looks: "a FLV file", match: at(0, "FLV\x01")},
	{looks: "an IVF file", match: at(0, "DKIF")},
	{looks: "an Ogg file", match: at(0, "OggS")},
	{looks: "a FLAC file", match: at(0, "fLaC")},
	{looks: "an MP3 file", match: at(0, "ID3")},
	{looks: "an MPEG program stream", match: at(0, "\x00\x00\x01\xba")},
	{looks: "a raw H.264 or HEVC stream", match: at(0, "\x00\x00\x00\x01")},
	{looks: "an executable", match: at(0, "\x7fELF")},
	{looks: "HTML", match: isHTML},
}

// at matches bytes at an offset.
func at(offset int, magic string) func([]byte) bool {
	return func(h []byte) bool {
		return len(h) >= offset+len(magic) && string(h[offset:offset+len(magic)]) == magic
	}
}

func riff(form string) func([]byte) bool {
	return func(h []byte) bool { return at(0, "RIFF")(h) && at(8, form)(h) }
}

var isEBML = at(0, "\x1a\x45\xdf\xa3")

// isoBoxes are the boxes that a file of ISO base media can begin with.
var isoBoxes = []string{"ftyp", "styp", "moov", "mdat", "free", "skip", "wide", "pnot", "moof", "sidx", "emsg", "prft"}

func isISOMedia(h []byte) bool {
	if len(h) < 8 {
		return false
	}
	size := uint32(h[0])<<24 | uint32(h[1])<<16 | uint32(h[2])<<8 | uint32(h[3])
	if size != 0 && size != 1 && size < 8 {
		return false
	}
	for _, box := range isoBoxes {
		if string(h[4:8]) == box {
			return true
		}
	}
	return false
}

// isTransportStream looks for four sync bytes at the distance of packets: plain,
// with time codes (M2TS) or with error correction. The first packet may be torn.
func isTransportStream(h []byte, final bool) (ok, more bool) {
	const syncs = 4
	for _, size := range []int{188, 192, 204} {
		for first := range min(size, len(h)) {
			n := 0
			for i := first; i < len(h) && h[i] == 0x47 && n < syncs; i += size {
				n++
			}
			if n == syncs {
				return true, false
			}
			if !final && n > 0 && first+n*size >= len(h) {
				more = true // all that is here fits
			}
		}
	}
	return false, more
}

func isHTML(h []byte) bool {
	h = bytes.ToLower(bytes.TrimLeft(h, " \t\r\n"))
	return bytes.HasPrefix(h, []byte("<!doctype html")) || bytes.HasPrefix(h, []byte("<html"))
}

func looksOf(h []byte) string {
	switch {
	case len(h) == 0:
		return "empty input"
	case isText(h):
		return "plain text"
	}
	return ""
}

func isText(h []byte) bool {
	for _, c := range h {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' || c == 0x7f {
			return false
		}
	}
	return len(h) > 0
}

package media

import (
	"bytes"
	"slices"
)

// The containers that are recognised and offered, by the names that clients see.
const (
	MP4      = "mp4" // and MOV, 3GP: ISO base media
	Matroska = "matroska"
	WebM     = "webm"
	MPEGTS   = "mpegts"
	MPEGPS   = "mpegps"
	AVI      = "avi"
	FLV      = "flv"
	IVF      = "ivf"
	OBU      = "obu"   // AV1 as a low-overhead stream of OBUs
	H264     = "h264"  // a raw stream, with start codes (Annex B)
	HEVC     = "hevc"  // the same
	MJPEG    = "mjpeg" // JPEG pictures one after another
	JPEG     = "jpeg"
	PNG      = "png"
	WebP     = "webp"
	BMP      = "bmp"
	GIF      = "gif" // its first picture
)

// Containers are the values that Job.Container can have.
var Containers = []string{
	MP4, Matroska, WebM, MPEGTS, MPEGPS, AVI, FLV, IVF, OBU, H264, HEVC, MJPEG,
	JPEG, PNG, WebP, BMP, GIF,
}

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
	if len(head) < 32 && !final { // no signature is longer
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
	{looks: "a HEIC or AVIF picture", match: isHEIF},
	{container: MP4, match: isISOMedia},
	{container: WebM, match: func(h []byte) bool { return isEBML(h) && bytes.Contains(h[:min(len(h), 64)], []byte("webm")) }},
	{container: Matroska, match: isEBML},
	{container: JPEG, match: at(0, "\xff\xd8\xff")},
	{container: PNG, match: at(0, "\x89PNG\r\n\x1a\n")},
	{looks: "an animated WebP picture", match: isAnimatedWebP},
	{container: WebP, match: riff("WEBP")},
	{container: GIF, match: at(0, "GIF87a")},
	{container: GIF, match: at(0, "GIF89a")},
	{container: BMP, match: isBMP},
	{container: AVI, match: riff("AVI ")},
	{container: FLV, match: at(0, "FLV\x01")},
	{container: IVF, match: at(0, "DKIF")},
	{container: MPEGPS, match: startCode(0xba)},
	{container: OBU, match: isOBU},
	{container: HEVC, match: isHEVC},
	{container: H264, match: startCode(0x67, 0x47, 0x27, 0x09, 0x06)}, // SPS, AUD, SEI

	{looks: "a ZIP archive", match: at(0, "PK\x03\x04")},
	{looks: "a ZIP archive", match: at(0, "PK\x05\x06")},
	{looks: "gzip data", match: at(0, "\x1f\x8b")},
	{looks: "a 7z archive", match: at(0, "7z\xbc\xaf\x27\x1c")},
	{looks: "a PDF document", match: at(0, "%PDF-")},
	{looks: "an HLS playlist", match: at(0, "#EXTM3U")},
	{looks: "an FFmpeg concat script", match: at(0, "ffconcat")},
	{looks: "an SDP description", match: at(0, "v=0\r\n")},
	{looks: "a WAV file", match: riff("WAVE")},
	{looks: "an Ogg file", match: at(0, "OggS")},
	{looks: "a FLAC file", match: at(0, "fLaC")},
	{looks: "an MP3 file", match: at(0, "ID3")},
	{looks: "a Windows Media file", match: at(0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11")},
	{looks: "a RealMedia file", match: at(0, ".RMF")},
	{looks: "a TIFF picture", match: at(0, "II*\x00")},
	{looks: "a TIFF picture", match: at(0, "MM\x00*")},
	{looks: "a JPEG XL picture", match: at(4, "JXL \r\n")},
	{looks: "a Photoshop picture", match: at(0, "8BPS")},
	{looks: "a Flash movie", match: at(0, "FWS")},
	{looks: "a raw MPEG video stream", match: startCode(0xb3)},
	{looks: "an XML document", match: at(0, "<?xml")},
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
	return slices.Contains(isoBoxes, string(h[4:8]))
}

// isHEIF tells still pictures from other ISO base media by the brand.
func isHEIF(h []byte) bool {
	if !at(4, "ftyp")(h) || len(h) < 12 {
		return false
	}
	switch string(h[8:12]) {
	case "heic", "heix", "heim", "heis", "mif1", "msf1", "avif", "avis":
		return true
	}
	return false
}

// isAnimatedWebP looks at the flags of the extended format: FFmpeg's decoder knows
// still pictures only.
func isAnimatedWebP(h []byte) bool {
	return riff("WEBP")(h) && at(12, "VP8X")(h) && len(h) > 20 && h[20]&2 != 0
}

// isBMP needs more than the two letters: nothing reserved, and the length of a
// header that there is.
func isBMP(h []byte) bool {
	if !at(0, "BM")(h) || !at(6, "\x00\x00\x00\x00")(h) || !at(15, "\x00\x00\x00")(h) {
		return false
	}
	switch h[14] {
	case 12, 40, 52, 56, 64, 108, 124:
		return true
	}
	return false
}

// startCode matches a start code of MPEG and one of these bytes behind it.
func startCode(kinds ...byte) func([]byte) bool {
	return func(h []byte) bool {
		unit := afterStartCode(h)
		return len(unit) > 0 && bytes.IndexByte(kinds, unit[0]) >= 0
	}
}

// afterStartCode is what follows the start code that the input begins with: two or
// more zeros and a one. Few encoders write more than three zeros.
func afterStartCode(h []byte) []byte {
	for i, c := range h[:min(len(h), 16)] {
		switch {
		case c == 1 && i >= 2:
			return h[i+1:]
		case c != 0:
			return nil
		}
	}
	return nil
}

// isHEVC looks for a VPS, SPS, AUD or SEI of the base layer. The same first byte
// would be no legal beginning of H.264.
func isHEVC(h []byte) bool {
	unit := afterStartCode(h)
	return len(unit) > 1 && unit[1] == 1 && bytes.IndexByte([]byte{32 << 1, 33 << 1, 35 << 1, 39 << 1}, unit[0]) >= 0
}

// isOBU looks for a temporal delimiter and a sequence header, both with their size.
func isOBU(h []byte) bool {
	return at(0, "\x12\x00\x0a")(h) && len(h) > 3 && h[3] > 0 && h[3] < 64
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

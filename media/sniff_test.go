package media

import (
	"bytes"
	"strings"
	"testing"
)

// packets are n transport stream packets of a size, with the sync byte at an offset.
func packets(n, size, sync int) string {
	b := bytes.Repeat([]byte{0xff}, n*size)
	for i := range n {
		b[i*size+sync] = 0x47
	}
	return string(b)
}

func TestSniff(t *testing.T) {
	pad := strings.Repeat("\x00", 64)
	for _, c := range []struct {
		head string
		want Sniffed
	}{
		{"\x00\x00\x00\x20ftypisom" + pad, Sniffed{Container: MP4}},
		{"\x00\x00\x00\x08wide\x00\x01\x00\x00mdat" + pad, Sniffed{Container: MP4}},
		{"\x00\x00\x00\x01mdat" + pad, Sniffed{Container: MP4}},
		{"\x00\x00\x00\x18styp" + pad, Sniffed{Container: MP4}},
		{"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm" + pad, Sniffed{Container: WebM}},
		{"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska" + pad, Sniffed{Container: Matroska}},
		{packets(5, 188, 0), Sniffed{Container: MPEGTS}},
		{packets(5, 188, 77), Sniffed{Container: MPEGTS}},
		{packets(5, 192, 4), Sniffed{Container: MPEGTS}},
		{packets(5, 204, 0), Sniffed{Container: MPEGTS}},
		{"\xff\xd8\xff\xe0\x00\x10JFIF" + pad, Sniffed{Container: JPEG}},
		{"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + pad, Sniffed{Container: PNG}},
		{"PK\x03\x04" + pad, Sniffed{Looks: "a ZIP archive"}},
		{"\x00\x00\x00\x1cftypheic" + pad, Sniffed{Looks: "a HEIC or AVIF picture"}},
		{"RIFF\x00\x00\x00\x00AVI LIST" + pad, Sniffed{Container: AVI}},
		{"RIFF\x00\x00\x00\x00WAVEfmt " + pad, Sniffed{Looks: "a WAV file"}},
		{"RIFF\x00\x00\x00\x00WEBPVP8 " + pad, Sniffed{Container: WebP}},
		{"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x10" + pad, Sniffed{Container: WebP}},
		{"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x12" + pad, Sniffed{Looks: "an animated WebP picture"}},
		{"GIF89a\x10\x00" + pad, Sniffed{Container: GIF}},
		{"GIF87a\x10\x00" + pad, Sniffed{Container: GIF}},
		{"BM\x36\x01\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00" + pad, Sniffed{Container: BMP}},
		{"BMW and other makes", Sniffed{Looks: "plain text"}},
		{"FLV\x01\x05\x00\x00\x00\x09" + pad, Sniffed{Container: FLV}},
		{"DKIF\x00\x00\x20\x00VP80" + pad, Sniffed{Container: IVF}},
		{"\x12\x00\x0a\x0a\x00\x00\x00\x24" + pad, Sniffed{Container: OBU}},
		{"\x00\x00\x01\xba\x44\x00" + pad, Sniffed{Container: MPEGPS}},
		{"\x00\x00\x00\x01\x67\x64\x00\x1e" + pad, Sniffed{Container: H264}},
		{"\x00\x00\x01\x09\xf0\x00\x00\x00\x01\x67" + pad, Sniffed{Container: H264}},
		{"\x00\x00\x00\x01\x40\x01\x0c\x01" + pad, Sniffed{Container: HEVC}},
		{"\x00\x00\x00\x01\x46\x01\x50" + pad, Sniffed{Container: HEVC}},
		{"\x00\x00\x01\xb3\x30\x02" + pad, Sniffed{Looks: "a raw MPEG video stream"}},
		{"\x00\x00\x00\x01\x41\x9a" + pad, Sniffed{}}, // begins with a slice: needs media.container
		{"#EXTM3U\n#EXT-X-TARGETDURATION:6\n", Sniffed{Looks: "an HLS playlist"}},
		{"  <!DOCTYPE html><html></html>", Sniffed{Looks: "HTML"}},
		{"just some words in a file", Sniffed{Looks: "plain text"}},
		{pad, Sniffed{}},
		{"", Sniffed{Looks: "empty input"}},
		{"short", Sniffed{Looks: "plain text"}},
	} {
		if got := Sniff([]byte(c.head), true); got != c.want {
			t.Errorf("%.20q: %+v, want %+v", c.head, got, c.want)
		}
	}
}

func TestSniffAsksForMore(t *testing.T) {
	ts := packets(30, 188, 0)
	for _, head := range []string{"", "\x00\x00\x00\x20ft", ts[:20], ts[:189], ts[:500], "words without an end so far"} {
		if got := Sniff([]byte(head), false); !got.More || got.Container != "" {
			t.Errorf("%d bytes: %+v", len(head), got)
		}
	}
	if got := Sniff(bytes.Repeat([]byte("words "), 2000), false); got.More || got.Looks != "plain text" {
		t.Errorf("long text: %+v", got)
	}
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte(packets(5, 188, 0)), true)
	f.Add([]byte("\x00\x00\x00\x20ftypisom"), false)
	f.Fuzz(func(t *testing.T, b []byte, final bool) {
		s := Sniff(b, final)
		if s.More && (final || s.Container != "" || len(b) >= SniffLen) {
			t.Errorf("%+v with %d bytes", s, len(b))
		}
	})
}

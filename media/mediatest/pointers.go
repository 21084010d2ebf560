package mediatest

import (
	"encoding/binary"
	"fmt"
)

// Pointers are inputs that a demuxer of another build would follow to a server or to a
// file: playlists, scripts, descriptions, and an MP4 whose media is elsewhere.
func Pointers(server, file string) map[string][]byte {
	url := "http://" + server + "/"
	return map[string][]byte{
		"m3u8":                  fmt.Appendf(nil, "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%sinternal.ts\n#EXT-X-ENDLIST\n", url),
		"m3u8 of a file":        fmt.Appendf(nil, "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\n%s\n#EXT-X-ENDLIST\n", file),
		"m3u8 with a key":       fmt.Appendf(nil, "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"%skey\"\n#EXTINF:1,\nconcat:%s|%s\n#EXT-X-ENDLIST\n", url, url, file),
		"ffconcat":              fmt.Appendf(nil, "ffconcat version 1.0\nfile '%s'\nfile '%smedia.mp4'\n", file, url),
		"sdp":                   fmt.Appendf(nil, "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"),
		"dash":                  fmt.Appendf(nil, "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"><Period><AdaptationSet mimeType=\"video/mp4\"><BaseURL>%s</BaseURL><Representation id=\"1\" bandwidth=\"1\"><SegmentList><SegmentURL media=\"a.mp4\"/></SegmentList></Representation></AdaptationSet></Period></MPD>", url),
		"rtsp":                  fmt.Appendf(nil, "RTSP/1.0 301 Moved\r\nLocation: rtsp://%s/\r\n\r\n", server),
		"webm with a playlist":  append([]byte("\x1a\x45\xdf\xa3\x84webm"), fmt.Appendf(nil, "#EXTM3U\n%sx.ts\n", url)...),
		"mp4 elsewhere, file":   referenceMP4("file://"+file, file),
		"mp4 elsewhere, server": referenceMP4(url+"media.mp4", url+"media.mp4"),
	}
}

// referenceMP4 is an MP4 whose one sample lies in another file: by a URL (url) and, as
// QuickTime does it, by an alias (alis) whose path is the second.
func referenceMP4(url, path string) []byte {
	be := binary.BigEndian
	box := func(kind string, parts ...[]byte) []byte {
		var b []byte
		for _, p := range parts {
			b = append(b, p...)
		}
		return append(append(be.AppendUint32(nil, uint32(8+len(b))), kind...), b...)
	}
	u32 := func(v ...uint32) (b []byte) {
		for _, n := range v {
			b = be.AppendUint32(b, n)
		}
		return b
	}
	alias := make([]byte, 150)
	be.PutUint16(alias[4:], uint16(len(alias)))
	alias = append(alias, 0, 18) // an absolute path
	alias = be.AppendUint16(alias, uint16(len(path)))
	alias = append(append(alias, path...), 0xff, 0xff, 0, 0)
	matrix := u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
	entry := box("jpeg", make([]byte, 6), []byte{0, 1}, make([]byte, 16), []byte{0, 64, 0, 48}, u32(0x480000, 0x480000, 0), []byte{0, 1}, make([]byte, 32), []byte{0, 24, 0xff, 0xff})
	table := box("stbl",
		box("stsd", u32(0, 1), entry), box("stts", u32(0, 1, 1, 1)), box("stsc", u32(0, 1, 1, 1, 1)),
		box("stsz", u32(0, 1000, 1)), box("stco", u32(0, 1, 0)))
	dinf := box("dinf", box("dref", u32(0, 2), box("url ", u32(0), append([]byte(url), 0)), box("alis", u32(0), alias)))
	track := box("trak",
		box("tkhd", u32(7, 0, 0, 1, 0, 1, 0, 0, 0, 0), matrix, u32(64<<16, 48<<16)),
		box("mdia", box("mdhd", u32(0, 0, 0, 1000, 1, 0)), box("hdlr", u32(0, 0), []byte("vide"), make([]byte, 13)),
			box("minf", box("vmhd", u32(1, 0, 0)), dinf, table)))
	moov := box("moov", box("mvhd", u32(0, 0, 0, 1000, 1, 0x10000, 0x1000000, 0, 0), matrix, make([]byte, 24), u32(2)), track)
	return append(box("ftyp", []byte("qt  "), u32(0), []byte("qt  ")), append(moov, box("mdat", []byte{0})...)...)
}

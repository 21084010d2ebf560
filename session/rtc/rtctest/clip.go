// Package rtctest is a WHIP publisher for tests and measurements, with a library's
// WebRTC and real encoded video.
package rtctest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
)

// Clip is encoded video, frame by frame.
type Clip struct {
	MimeType string
	Frames   []Frame
}

// Frame is an access unit.
type Frame struct {
	Data []byte
	Key  bool
}

// Payloader cuts frames into the payloads of RTP.
func (c *Clip) Payloader() rtp.Payloader {
	switch c.MimeType {
	case webrtc.MimeTypeH264:
		return &codecs.H264Payloader{}
	case webrtc.MimeTypeVP8:
		return &codecs.VP8Payloader{EnablePictureID: true}
	case webrtc.MimeTypeVP9:
		return &codecs.VP9Payloader{}
	}
	return &codecs.AV1Payloader{}
}

var errClip = errors.New("rtctest: not an IVF file, and no H.264 with start codes")

// Open reads an IVF file (VP8, VP9, AV1), or H.264 with start codes.
func Open(path string) (*Clip, error) {
	b, err := os.ReadFile(path) //nolint:gosec // G304: the caller's own file
	if err != nil {
		return nil, err
	}
	var c *Clip
	if bytes.HasPrefix(b, []byte("DKIF")) {
		c, err = ivf(b)
	} else {
		c, err = annexB(b)
	}
	if err == nil && (len(c.Frames) == 0 || !c.Frames[0].Key) {
		err = errClip
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func ivf(b []byte) (*Clip, error) {
	if len(b) < 32 {
		return nil, errClip
	}
	c := &Clip{MimeType: map[string]string{"VP80": webrtc.MimeTypeVP8, "VP90": webrtc.MimeTypeVP9, "AV01": webrtc.MimeTypeAV1}[string(b[8:12])]}
	for b = b[binary.LittleEndian.Uint16(b[6:]):]; len(b) >= 12; {
		size := int(binary.LittleEndian.Uint32(b))
		if size > len(b)-12 || size == 0 {
			return nil, errClip
		}
		data := b[12 : 12+size]
		c.Frames = append(c.Frames, Frame{data, isKey(c.MimeType, data)})
		b = b[12+size:]
	}
	return c, nil
}

func isKey(mime string, b []byte) bool {
	switch mime {
	case webrtc.MimeTypeVP8:
		return b[0]&1 == 0
	case webrtc.MimeTypeVP9: // profile 0
		return b[0]&0x0c == 0
	}
	return bytes.HasPrefix(b, []byte{0x12, 0, 0x0a}) // a sequence header behind the delimiter
}

// annexB cuts an H.264 stream at the units that begin a picture.
func annexB(b []byte) (*Clip, error) {
	c := &Clip{MimeType: webrtc.MimeTypeH264}
	var cur Frame
	picture := false
	for unit := range bytes.SplitSeq(b, []byte{0, 0, 1}) {
		unit = bytes.TrimRight(unit, "\x00")
		if len(unit) < 2 {
			continue
		}
		kind := unit[0] & 0x1f
		slice := kind == 1 || kind == 5
		if picture && (!slice || unit[1]&0x80 != 0) {
			c.Frames = append(c.Frames, cur)
			cur, picture = Frame{}, false
		}
		picture, cur.Key = picture || slice, cur.Key || kind == 5
		cur.Data = append(append(cur.Data, 0, 0, 0, 1), unit...)
	}
	if picture {
		c.Frames = append(c.Frames, cur)
	}
	if !strings.HasPrefix(string(b), "\x00\x00") {
		return nil, errClip
	}
	return c, nil
}

//go:build cgo

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// clip is a media file and what ffprobe, another build of FFmpeg than the
// program's, says of it.
type clip struct {
	name    string
	bytes   []byte
	seconds float64
	delay   int // packets that a decoder holds back to reorder, as the stream states
	packets []packet
	format  string
}

// packet is an access unit of the video stream in the order of the file.
type packet struct{ pos, size int64 }

// rate is the clip's own bit rate in bytes per second.
func (c *clip) rate() float64 { return float64(len(c.bytes)) / c.seconds }

func (b *bench) clip(name string) (*clip, error) {
	path := filepath.Join(b.media, name)
	media, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the folder
	if err != nil {
		return nil, err
	}
	//nolint:gosec // G204: the operator names the file
	cmd := exec.Command("ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "json", "-read_intervals", "%+#30",
		"-show_entries", "packet=pos,size:stream=has_b_frames:format=duration,format_name", path)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ffprobe %s: %w", name, err)
	}
	var probed struct {
		Packets []struct{ Pos, Size string }
		Streams []struct {
			Delay int `json:"has_b_frames"`
		}
		Format struct {
			Duration string
			Name     string `json:"format_name"`
		}
	}
	if err := json.Unmarshal(text, &probed); err != nil {
		return nil, err
	}
	c := &clip{name: name, bytes: media, format: probed.Format.Name}
	c.seconds, err = strconv.ParseFloat(probed.Format.Duration, 64)
	if err != nil || len(probed.Streams) != 1 {
		return nil, fmt.Errorf("ffprobe %s: %s", name, text)
	}
	c.delay = probed.Streams[0].Delay
	for _, p := range probed.Packets {
		pos, err1 := strconv.ParseInt(p.Pos, 10, 64)
		size, err2 := strconv.ParseInt(p.Size, 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("ffprobe %s: %w", name, err)
		}
		c.packets = append(c.packets, packet{pos, size})
	}
	if len(c.packets) < c.delay+2 {
		return nil, fmt.Errorf("%s has only %d packets", name, len(c.packets))
	}
	return c, nil
}

// firstByte is how many bytes a decoder that probes nothing needs for the first
// picture: everything up to the end of the packet with which the first one leaves
// the reordering. In MPEG-TS a packet ends where the stream's next one begins: only
// then is it known to be complete.
func (c *clip) firstByte() int64 {
	p := c.packets[c.delay]
	switch {
	case c.format == "mpegts":
		return c.packets[c.delay+1].pos + 188
	case bytes.HasPrefix(c.bytes, ebml):
		// ffprobe's position is that of the block: track, time and flags, then the packet.
		return p.pos + 4 + p.size
	}
	return p.pos + p.size
}

var ebml = []byte{0x1A, 0x45, 0xDF, 0xA3}

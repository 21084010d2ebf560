//go:build cgo

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pion/rtp"

	"detections/session/rtc/rtctest"
)

// receiving is what FFmpeg uses that receives and decodes a clip over plain RTP at its
// pace, in ms per frame.
func receiving(ctx context.Context, dir string, clip *rtctest.Clip) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	to, _ := free.LocalAddr().(*net.UDPAddr)
	if err := free.Close(); err != nil { // it is FFmpeg's now
		return 0, err
	}
	session := fmt.Sprintf("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video %d RTP/AVP 96\r\na=rtpmap:96 %s/90000\r\n",
		to.Port, strings.TrimPrefix(clip.MimeType, "video/"))
	path := filepath.Join(dir, "live.sdp")
	if err := os.WriteFile(path, []byte(session), 0o600); err != nil {
		return 0, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-protocol_whitelist", "file,udp,rtp", "-i", path, "-f", "null", "-") //nolint:gosec // G204: our own file
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	used, frames, err := sendRTP(to, clip, cmd.Process.Pid)
	cancel()
	_ = cmd.Wait() // it was killed
	if err == nil && used < liveTime/1000 {
		err = fmt.Errorf("ffmpeg received nothing: %s", said.Bytes())
	}
	return ms(used) / float64(frames), err
}

// sendRTP sends a clip again and again, at first until FFmpeg has seen what it is, and
// returns what that uses afterwards.
func sendRTP(to *net.UDPAddr, clip *rtctest.Clip, pid int) (used time.Duration, frames int, err error) {
	conn, err := net.DialUDP("udp4", nil, to)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close() //nolint:errcheck // only written
	const settled = 8 * time.Second
	var before stat
	payloader, seq := clip.Payloader(), uint16(0)
	tick := time.NewTicker(livePeriod)
	defer tick.Stop()
	begun := time.Now()
	for n := 0; time.Since(begun) < settled+liveTime; n++ {
		if before.pid == 0 && time.Since(begun) >= settled {
			if before, err = readStat(pid); err != nil {
				return 0, 0, err
			}
			frames = 0
		}
		all := payloader.Payload(rtctest.MTU, clip.Frames[n%len(clip.Frames)].Data)
		for i, b := range all {
			p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: seq, Timestamp: uint32(n * 3000), SSRC: 1, Marker: i == len(all)-1}, Payload: b}
			seq++
			raw, err := p.Marshal()
			if err != nil {
				return 0, 0, err
			}
			_, _ = conn.Write(raw) // refused as long as FFmpeg does not listen
		}
		frames++
		<-tick.C
	}
	after, err := readStat(pid)
	return after.cpu - before.cpu, frames, err
}

package main_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestE2ELivePictures sends JPEG pictures one by one, as a browser without WebRTC does.
// Sent one after the other each has its result; sent all at once the newest has.
func TestE2ELivePictures(t *testing.T) {
	p := serve(t, "--rtc-listen", "off")
	var pictures [][]byte
	for _, part := range bytes.SplitAfter(read(t, "mjpeg.mjpeg"), []byte{0xff, 0xd9}) {
		if bytes.HasPrefix(part, []byte{0xff, 0xd8}) {
			pictures = append(pictures, part)
		}
	}
	if len(pictures) != 20 {
		t.Fatalf("%d pictures", len(pictures))
	}
	s, _ := p.socket(t, `{"type":"start","mode":"live","media":{"container":"jpeg"}}`)
	send := func(i int) {
		s.say(websocket.MessageText, fmt.Appendf(nil, `{"type":"picture","client_ts":%d,"seq":%d}`, 40*i, i))
		s.say(websocket.MessageBinary, pictures[i%20])
	}
	for i := range 5 {
		send(i)
		for all := s.until("detections"); ; all = s.until("detections") {
			if m := all[len(all)-1]; m.Seq != nil && *m.Seq == int64(i) {
				if m.ClientTS == nil || *m.ClientTS != float64(40*i) || !strings.Contains(string(m.Detections), `"person"`) {
					t.Errorf("%+v", m)
				}
				break
			}
		}
	}
	for i := 5; i < 105; i++ {
		send(i)
	}
	s.say(websocket.MessageText, []byte(`{"type":"eof"}`))
	all := s.until("end")
	end, newest := all[len(all)-1], int64(-1)
	for _, m := range all {
		if m.Seq != nil {
			newest = *m.Seq
		}
	}
	a := end.Accounting
	if end.Outcome != "done" || newest != 104 || a.Decoded+a.Undecoded["late"] != 105 || a.Undecoded["corrupt"] != 0 {
		t.Errorf("the newest result is of %d; end %+v", newest, end)
	}
	t.Logf("of 100 pictures at once %d were decoded, %d too late for that; in all %d inferred, %v dropped", a.Decoded-5, a.Undecoded["late"], a.Inferred, a.Dropped)
}

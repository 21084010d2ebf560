package main_test

import (
	"encoding/json"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"detections/session/rtc/rtctest"
)

// loopback lets a test's own end use this machine's loopback.
func loopback() (e webrtc.SettingEngine) {
	e.SetIncludeLoopbackCandidate(true)
	return e
}

// publish publishes a clip of the test media over WHIP.
func (p *process) publish(t *testing.T, name string, o rtctest.Options) *rtctest.Publisher {
	t.Helper()
	clip, err := rtctest.Open(media(t, name))
	if err != nil {
		t.Fatal(err)
	}
	o.Clip, o.URL, o.Settings = clip, p.url+"/v1/whip"+o.URL, loopback()
	pub, err := rtctest.Publish(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pub.Close)
	return pub
}

// live is a result of a live session.
type live struct {
	Type       string
	Frame      int64
	RTP        *uint32 `json:"rtp_ts"`
	Width      int
	Height     int
	Detections []struct{ Label string }
	Timing     struct{ Jitter, Receive, Decode, Queue, Infer, Order, Total float64 }
	Outcome    string
	Accounting struct {
		Decoded, Inferred int64
		Undecoded         map[string]int64
	}
}

// next is the next message of a type.
func next(t *testing.T, pub *rtctest.Publisher, kind string) live {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case text := <-pub.Messages:
			var m live
			if err := json.Unmarshal(text.Data, &m); err != nil {
				t.Fatalf("%s: %v", text.Data, err)
			}
			if m.Type == kind {
				return m
			}
		case <-deadline:
			t.Fatalf("no %s", kind)
		}
	}
}

// TestE2EWebRTC publishes real video of every codec that WebRTC has, and gets persons
// back, each result with the time stamp of a frame that was sent.
func TestE2EWebRTC(t *testing.T) {
	p := serve(t, "--rtc-listen", "127.0.0.1:0")
	const baseline, main0, high = "packetization-mode=1;profile-level-id=42e01f", "packetization-mode=0;profile-level-id=4d001f", "packetization-mode=1;profile-level-id=64001f"
	for name, o := range map[string]rtctest.Options{
		"live-vp8.ivf": {}, "people-vp9.ivf": {}, "av1.ivf": {},
		"live-baseline.h264": {Fmtp: baseline}, "live-high.h264": {Fmtp: high}, "./live-baseline.h264": {Fmtp: main0},
	} {
		t.Run(name, func(t *testing.T) {
			o.Interval = 33333 * time.Microsecond
			pub := p.publish(t, name, o)
			persons := 0
			for range 10 {
				m := next(t, pub, "detections")
				if m.RTP == nil || pub.SentAt(*m.RTP).IsZero() {
					t.Fatalf("%+v", m)
				}
				for _, d := range m.Detections {
					persons += strings.Count(d.Label, "person")
				}
			}
			if err := pub.Delete(); err != nil {
				t.Fatal(err)
			}
			if end := next(t, pub, "end"); end.Outcome != "done" || persons < 10 {
				t.Errorf("%d persons, end %+v", persons, end)
			}
		})
	}
}

// TestE2EWebRTCPictureChanges: within one track the picture gets another size, is turned,
// and pauses, as when somebody turns a telephone or mutes the camera.
func TestE2EWebRTCPictureChanges(t *testing.T) {
	p := serve(t, "--rtc-listen", "127.0.0.1:0")
	var turned atomic.Int32 // by so many quarters
	turned.Store(-1)
	var id uint8
	pub := p.publish(t, "live-vp8.ivf", rtctest.Options{Still: true, URL: "?budget_ms=60000", Extend: func(_ int, packet *rtp.Packet) {
		if by := turned.Swap(-1); by >= 0 { // it is told when it changes, and holds until then
			_ = packet.SetExtension(id, []byte{byte(by)}) // the test would fail
		}
	}})
	other, err := rtctest.Open(media(t, "people-vp8.ivf"))
	if err != nil {
		t.Fatal(err)
	}
	next(t, pub, "started")
	if id = pub.ExtensionID("urn:3gpp:video-orientation"); id == 0 {
		t.Fatal("the extension was not agreed on")
	}
	send := func(frame []byte) live {
		t.Helper()
		if err := pub.Send(frame); err != nil {
			t.Fatal(err)
		}
		m := next(t, pub, "detections")
		if s := m.Timing; math.Abs(s.Jitter+s.Receive+s.Decode+s.Queue+s.Infer+s.Order-s.Total) > 0.01 {
			t.Errorf("the stages do not add up: %+v", s)
		}
		return m
	}
	first, own := send(pub.Clip().Frames[0].Data), send(pub.Clip().Frames[1].Data)
	larger, after := send(other.Frames[0].Data), send(other.Frames[1].Data)
	if first.Width != 640 || own.Height != 480 || larger.Width == 640 || after.Width != larger.Width {
		t.Errorf("%d×%d, then %d×%d", first.Width, first.Height, larger.Width, larger.Height)
	}
	turned.Store(1)
	if m := send(other.Frames[2].Data); m.Width != larger.Height || m.Height != larger.Width || m.Frame != 4 {
		t.Errorf("turned: %d×%d, frame %d", m.Width, m.Height, m.Frame)
	}
	time.Sleep(500 * time.Millisecond) // a muted track sends nothing
	if m := send(other.Frames[3].Data); m.Width != larger.Height {
		t.Errorf("still turned: %d×%d", m.Width, m.Height)
	}
	turned.Store(0)
	if m := send(other.Frames[4].Data); m.Width != larger.Width || m.Frame != 6 || pub.PLIs() != 0 {
		t.Errorf("after the pause: %d×%d, frame %d, %d key frames asked for", m.Width, m.Height, m.Frame, pub.PLIs())
	}
	if err := pub.Delete(); err != nil {
		t.Fatal(err)
	}
	if end := next(t, pub, "end"); end.Outcome != "done" || end.Accounting.Decoded != 7 {
		t.Errorf("%+v", end)
	}
}

// TestE2EWebRTCOtherClient publishes with a client that shares no code with the hub: the
// one of the documentation, on Debian's aiortc.
func TestE2EWebRTCOtherClient(t *testing.T) {
	p := serve(t, "--rtc-listen", "127.0.0.1:0")
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", filepath.Join("..", "..", "docs", "clients", "whip.py"), p.url+"/v1/whip", media(t, "people.mp4"), "4")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, problems.String())
	}
	results, persons, last := 0, 0, live{}
	for line := range strings.Lines(string(out)) {
		last = live{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if last.Type != "detections" {
			continue
		}
		results++
		persons += strings.Count(line, `"person"`)
		if last.RTP == nil {
			t.Errorf("%s", line)
		}
	}
	if last.Type != "end" || last.Outcome != "done" || results < 5 || persons < results {
		t.Errorf("%d results with %d persons, end %+v", results, persons, last)
	}
	t.Logf("%d results with %d persons; %+v", results, persons, last.Accounting)
}

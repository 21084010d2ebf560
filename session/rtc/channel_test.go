package rtc_test

import (
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

func TestAClientSpeaksOnTheDataChannel(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	for _, c := range []struct{ say, want, id string }{
		{`{"type":"ping","t":7}`, "pong", ""},
		{`{"type":"configure","id":"a","detect":{"threshold":0.7}}`, "configured", "a"},
		{`{"type":"configure","id":"b","detect":{"threshold":7}}`, "error", "b"},
		{`{"type":"configure","id":"c","detect":{"labels":["unicorn"]}}`, "error", "c"},
		{`{"type":"start"}`, "error", ""},
		{`nonsense`, "error", ""},
		{`{"type":"ping","t":"` + strings.Repeat("x", 65<<10) + `"}`, "error", ""},
		{`{"type":"cancel"}`, "end", ""},
	} {
		if err := pub.Say(c.say); err != nil {
			t.Fatal(err)
		}
		if m := s.next(pub, c.want); m.ID != c.id {
			t.Errorf("%.80s: %+v", c.say, m)
		}
	}
	s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
}

// second opens another data channel, says something as soon as it is open, and tells what comes on it.
func second(t *testing.T, pub *rtctest.Publisher, say string) <-chan message {
	t.Helper()
	d, err := pub.PC.CreateDataChannel("detections.v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan message, 4096)
	said := make(chan error, 1)
	d.OnMessage(func(text webrtc.DataChannelMessage) {
		var m message
		if json.Unmarshal(text.Data, &m) == nil {
			heard <- m
		}
	})
	d.OnOpen(func() { said <- d.SendText(say) })
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	return heard
}

// What is said on a channel counts as soon as it is open, though the one before it is told first.
func TestAChannelIsHeardFromTheBeginning(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	second(t, pub, `{"type":"configure","id":"a","detect":{"threshold":0.7}}`)
	if m := s.next(pub, "configured"); m.ID != "a" {
		t.Errorf("%+v", m)
	}
}

// Another channel goes on where the one before ended.
func TestAnotherChannelGoesOnWithTheNextEvent(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	for range 20 {
		s.next(pub, "detections")
	}
	heard := second(t, pub, `{"type":"ping","t":1}`)
	if err := pub.Hang(); err != nil {
		t.Fatal(err)
	}
	started := <-heard
	if started.Type != "started" || started.Offset < 20 {
		t.Errorf("%+v", started)
	}
	for m := range heard {
		if m.Type == "detections" {
			if m.Offset != started.Offset+1 {
				t.Errorf("%+v after %+v", m, started)
			}
			return
		}
	}
}

func TestAClientOpensFewDataChannels(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	for range 16 {
		if _, err := pub.PC.CreateDataChannel("other", nil); err != nil {
			t.Fatal(err)
		}
	}
	if m := s.next(pub, "error"); m.Code != "quota" || !m.Fatal {
		t.Errorf("error %+v", m)
	}
	s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
}

// A channel that may lose messages is for who wants the newest. It gets results, too.
func TestAnUnreliableChannelHasResults(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{Channel: &webrtc.DataChannelInit{Ordered: new(bool), MaxRetransmits: new(uint16)}}, loopback())
	for range 20 {
		s.next(pub, "detections")
	}
}

// What is no packet of the connection's own disturbs nobody.
func TestAFloodOfOtherPacketsIsIgnored(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	to := s.rtc.Addr().String()
	flood, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer flood.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 1200)
	for range 2000 {
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b[0] = []byte{0x80, 0x00, 0x16, byte(rng.Uint32())}[rng.IntN(4)] // RTP, STUN, DTLS, anything
		_, _ = flood.Write(b[:1+rng.IntN(1199)])                         // the kernel may have no room
	}
	tcp, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, _ = tcp.Write(b)
	for range 10 {
		s.next(pub, "detections")
	}
	if m := s.hub.Sessions("local")[0].Accounting; m.Undecoded["corrupt"] != 0 {
		t.Errorf("accounting %+v", m)
	}
}

// Payloads of nonsense are lost frames, and the next key frame is taken.
func TestPayloadsOfNonsenseAreLost(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{Still: true}, loopback())
	s.next(pub, "started")
	good := clip().Frames[0].Data
	rng := rand.New(rand.NewPCG(2, 2))
	for i := range 200 {
		b := make([]byte, 1+rng.IntN(3000))
		for k := range b {
			b[k] = byte(rng.Uint32())
		}
		if i%20 == 19 {
			b = good
		}
		if err := pub.SendRaw(b, i%20 == 19); err != nil {
			t.Fatal(err)
		}
	}
	if err := pub.Send(good); err != nil {
		t.Fatal(err)
	}
	want := pub.TimeStamp(200)
	for m := s.next(pub, "detections"); *m.RTP != want; {
		m = s.next(pub, "detections")
	}
}

// Nothing is left of connections that came and went, however they went. The long
// version has 200.
func TestConnectionsLeaveNothingBehind(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("DETECTIONS_TEST_CONNECTIONS"))
	if err != nil {
		n = 12
	}
	s := newHouse(t, hub.Limits{Linger: ms, Sessions: 400}, rtc.Config{Lost: time.Second})
	before := descriptors(t)
	for i := range n {
		pub := s.publish(rtctest.Options{}, loopback())
		if i%4 != 3 {
			s.next(pub, "detections")
		}
		if i%2 == 0 {
			if err := pub.Delete(); err != nil {
				t.Fatal(err)
			}
		}
		pub.Close()
	}
	s.until("all sessions have ended", func() bool { return s.hub.Running() == 0 && s.rtc.Connections() == 0 })
	s.Client().CloseIdleConnections()
	s.until("all files are closed", func() bool { return descriptors(t) <= before+4 })
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

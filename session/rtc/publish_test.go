package rtc_test

import (
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

// Every result has the time stamp of a frame that was sent, in order, across the point
// where RTP's clock begins anew, and pts_ms that goes on.
func TestResultsCarryTheTimeStampOfTheirFrame(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	if m := s.next(pub, "started"); m.Session != pub.Session {
		t.Errorf("started %+v", m)
	}
	for range 30 {
		m := s.next(pub, "detections")
		if m.RTP == nil || pub.SentAt(*m.RTP).IsZero() {
			t.Fatalf("a result of a frame that was not sent: %+v", m)
		}
		if ms := float64(*m.RTP-rtctest.FirstRTP) / 90; math.Abs(ms-m.PTS) > 0.01 {
			t.Errorf("pts %v ms, by the time stamp %v", m.PTS, ms)
		}
	}
	if err := pub.Delete(); err != nil {
		t.Fatal(err)
	}
	if end := s.next(pub, "end"); end.Outcome != "done" || end.Accounting.Undecoded["lost"] != 0 {
		t.Errorf("end %+v", end)
	}
	s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
}

// The time of capture comes with one frame in five; in between it is counted on.
func TestTheTimeOfCaptureComesBack(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	const at, since1900 = 1_700_000_000_000, 2_208_988_800
	var id uint8
	pub := s.publish(rtctest.Options{Still: true, Extend: func(frame int, p *rtp.Packet) {
		if frame%5 == 0 {
			ms := at + 20*frame
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], uint64(ms/1000+since1900)<<32|uint64(ms%1000)<<32/1000)
			_ = p.SetExtension(id, b[:]) // the test would fail
		}
	}}, loopback())
	id = pub.ExtensionID("http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time")
	s.next(pub, "started")
	for i := range 12 {
		if err := pub.Send(clip().Frames[min(i, 1)].Data); err != nil {
			t.Fatal(err)
		}
		m := s.next(pub, "detections")
		want := float64(at) + float64(*m.RTP-rtctest.FirstRTP)/90
		if m.Client == nil || math.Abs(*m.Client-want) > 0.1 {
			t.Errorf("frame %d captured at %v, not %v", m.Frame, m.Client, want)
		}
	}
}

func TestCandidatesCanTrickle(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	s.next(s.publish(rtctest.Options{Trickle: true}, loopback()), "detections")
}

func TestICERestartGoesOn(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	before := pub.ETag
	if err := pub.RestartICE(); err != nil {
		t.Fatal(err)
	}
	if pub.ETag == before || pub.ETag == "" {
		t.Errorf("the ETag %s stands for another ICE session", pub.ETag)
	}
	again := time.Now()
	for {
		m := s.next(pub, "detections")
		if pub.SentAt(*m.RTP).After(again.Add(500 * ms)) {
			break
		}
	}
	if res, _ := s.do("PATCH", pub.Resource[len(s.URL):], "a=ice-ufrag:x", "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", before); res.StatusCode != 412 {
		t.Errorf("the old ETag: %d", res.StatusCode)
	}
}

// patch sends a fragment and returns the answer's status and ETag.
func (s *house) patch(pub *rtctest.Publisher, match, fragment string) (status int, etag string) {
	s.t.Helper()
	res, _ := s.do("PATCH", pub.Resource[len(s.URL):], fragment, "Content-Type", "application/trickle-ice-sdpfrag", "If-Match", match)
	return res.StatusCode, res.Header.Get("ETag")
}

// Candidates that are of no use here are left out, however many, and those behind them are taken.
func TestCandidatesThatCannotBeUsedAreLeftOut(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{Trickle: true, Clip: clip()}, loopback())
	s.next(pub, "detections")
	for range 4 {
		useless := strings.Repeat("a=candidate:1 1 udp 2130706431 camera.example.org 9 typ host\r\na=candidate:nonsense\r\n", 30)
		if status, etag := s.patch(pub, pub.ETag, useless+"a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"); status != 204 || etag != "" {
			t.Errorf("%d, ETag %q", status, etag)
		}
	}
}

// A restart of ICE that is refused leaves the session before as it is.
func TestARestartThatIsRefusedChangesNothing(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{Lost: 400 * ms})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	for _, fragment := range []string{"a=ice-ufrag:new\r\na=ice-pwd:short\r\n", "a=ice-ufrag:newer\r\na=ice-pwd:short\r\n", "a=ice-ufrag:ne wer\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\n"} {
		if status, etag := s.patch(pub, "*", fragment); status != 400 || etag != "" {
			t.Errorf("%q: %d, ETag %q", fragment, status, etag)
		}
	}
	if status, _ := s.patch(pub, pub.ETag, "a=end-of-candidates\r\n"); status != 204 {
		t.Errorf("the ETag of before: %d", status)
	}
	refused := pub.Sent()
	for m := s.next(pub, "detections"); int64(pub.Frame(*m.RTP)) < refused+60; {
		m = s.next(pub, "detections")
	}
	// One candidate that cannot be used does not spoil a restart, nor do quotes.
	if status, etag := s.patch(pub, `"*"`, "a=ice-ufrag:newer\r\na=ice-pwd:abcdefghijklmnopqrstuvwxyz\r\na=candidate:nonsense\r\n"); status != 200 || etag == "" || etag == pub.ETag {
		t.Errorf("%d, ETag %q", status, etag)
	}
}

func TestMediaOverTCPOnly(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	e := loopback()
	e.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	s.next(s.publish(rtctest.Options{}, e), "detections")
}

func TestManyPublishAtOnce(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	var pubs []*rtctest.Publisher
	for range 20 {
		pubs = append(pubs, s.publish(rtctest.Options{Interval: 100 * ms}, loopback()))
	}
	for _, pub := range pubs {
		for range 3 {
			s.next(pub, "detections")
		}
	}
}

// A client that comes back with ?session= goes on in another segment, and the
// connection before is over.
func TestRejoiningBeginsASegment(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	first := s.publish(rtctest.Options{}, loopback())
	s.next(first, "detections")
	second := s.publish(rtctest.Options{URL: "?session=" + first.Session}, loopback())
	if second.Session != first.Session {
		t.Errorf("session %s, not %s", second.Session, first.Session)
	}
	if m := s.next(second, "segment"); m.Reason != "reconnected" {
		t.Errorf("segment %+v", m)
	}
	if m := s.next(second, "detections"); m.PTS > 1000 {
		t.Errorf("its times begin anew: %+v", m)
	}
	s.until("only the second connection is left", func() bool { return s.rtc.Connections() == 1 })
}

// A client that vanishes is waited for as long as the hub lingers.
func TestAClientThatVanishesIsWaitedFor(t *testing.T) {
	s := newHouse(t, hub.Limits{Linger: 300 * ms}, rtc.Config{Lost: 400 * ms})
	pub := s.publish(rtctest.Options{}, loopback())
	s.next(pub, "detections")
	pub.Close()
	s.until("the session has ended", func() bool { return s.hub.Running() == 0 })
	for _, st := range s.hub.Sessions("local") {
		if st.End == nil || st.End.Code != "upload_incomplete" {
			t.Errorf("end %+v", st.End)
		}
	}
}

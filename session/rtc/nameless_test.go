package rtc_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pion/rtp"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

// nameless takes out of an offer by which numbers its streams are known. Browsers leave
// them out where they offer simulcast.
func nameless(sdp string) string {
	var out []string
	for line := range strings.SplitSeq(sdp, "\r\n") {
		if !strings.HasPrefix(line, "a=ssrc") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\r\n")
}

// simulcast offers several sizes, by the names of their streams.
func simulcast(sdp string) string {
	return strings.Replace(nameless(sdp), "a=sendonly\r\n", "a=sendonly\r\na=extmap:13 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n", 1)
}

func TestAnOfferThatDoesNotNumberItsStreamsIsTaken(t *testing.T) {
	for name, change := range map[string]func(string) string{"plain": nameless, "simulcast": simulcast} {
		t.Run(name, func(t *testing.T) {
			s := newHouse(t, hub.Limits{}, rtc.Config{})
			pub := s.publish(rtctest.Options{Offer: change}, loopback())
			s.next(pub, "detections")
			s.until("the sender is told of its packets", func() bool { return pub.Arrived() > 0 })
			if answer := pub.PC.RemoteDescription().SDP; strings.Contains(answer, "a=rid") || strings.Contains(answer, "rtx") {
				t.Errorf("the answer wants what could not be told apart\n%s", answer)
			}
			if err := pub.RestartICE(); err != nil {
				t.Fatal(err)
			}
			restarted := pub.Sent()
			m := s.next(pub, "detections")
			for int64(pub.Frame(*m.RTP)) < restarted+20 {
				m = s.next(pub, "detections")
			}
			// The step from one track to the other is measured, and the sender may have stood still.
			stamp, clock := float64(*m.RTP-rtctest.FirstRTP)/90, float64(pub.SentAt(*m.RTP).Sub(pub.SentAt(rtctest.FirstRTP)).Milliseconds())
			if m.PTS < min(stamp, clock)-500 || m.PTS > max(stamp, clock)+500 {
				t.Errorf("pts %v ms, by the time stamp %v, by the clock %v", m.PTS, stamp, clock)
			}
		})
	}
}

// What repairs media, or probes the line, is a stream of its own.
func TestAStreamOfSomethingElseTakesNoVideoAway(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	var packets atomic.Int32
	s.publish(rtctest.Options{Offer: nameless, NoChannel: true, Interval: 20 * ms, Wire: func(h *rtp.Header) {
		if n := packets.Add(1); n%50 == 20 {
			h.SSRC, h.PayloadType = h.SSRC+uint32(n), 60
		}
	}}, loopback())
	s.until("pictures go on", func() bool { return packets.Load() > 120 && s.hub.Sessions("local")[0].Accounting.Decoded > 40 })
}

package rtc_test

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

// Of what is lost on the way most is asked for again and comes. The rest is counted:
// every frame that was sent is decoded or lost.
func TestLossIsMadeUpForOrCounted(t *testing.T) {
	for _, percent := range []int{3, 10} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			s := newHouse(t, hub.Limits{}, rtc.Config{})
			line, err := rtctest.NewLossy(float64(percent)/100, uint64(percent))
			if err != nil {
				t.Fatal(err)
			}
			defer line.Close()
			var e webrtc.SettingEngine
			line.Use(&e)
			pub := s.publish(rtctest.Options{}, e)
			first, last := s.next(pub, "detections"), message{}
			const frames = 150
			for last.RTP == nil || pub.Frame(*last.RTP) < frames {
				last = s.next(pub, "detections")
			}
			if err := pub.Delete(); err != nil {
				t.Fatal(err)
			}
			s.until("the session has ended", func() bool { return s.hub.Running() == 0 })
			end := s.hub.Sessions("local")[0].End
			a := end.Accounting
			told := int64(pub.Frame(*last.RTP) - pub.Frame(*first.RTP) + 1)
			lost, of := line.Lost()
			t.Logf("%d of %d packets lost; %d frames decoded, %d lost, %d key frames asked for", lost, of, a.Decoded, a.Undecoded["lost"], pub.PLIs())
			if got := a.Decoded + a.Undecoded["lost"]; end.Outcome != "done" || a.Decoded < frames/2 || got < told || got > pub.Sent() {
				t.Errorf("%d frames were sent, %d of them between two results; end %+v", pub.Sent(), told, end)
			}
		})
	}
}

// A key frame no packet of which comes, not even again: another one is asked for as
// soon as it is given up, and the picture is back within half a second.
func TestALostKeyFrameIsRecoveredFrom(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	line, err := rtctest.NewLossy(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	const doomed = 60 // the third key frame
	var ts atomic.Uint32
	ts.Store(1)
	line.Lose = func(b []byte) bool { // also where it is repeated, in a stream of its own
		return len(b) > 12 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223) && binary.BigEndian.Uint32(b[4:]) == ts.Load()
	}
	var e webrtc.SettingEngine
	line.Use(&e)
	pub := s.publish(rtctest.Options{}, e)
	ts.Store(pub.TimeStamp(doomed))
	for {
		m := s.next(pub, "detections")
		if pub.Frame(*m.RTP) <= doomed {
			continue
		}
		took := pub.SentAt(*m.RTP).Sub(pub.SentAt(pub.TimeStamp(doomed)))
		t.Logf("the next frame that counts was sent %v after the lost one", took.Round(time.Millisecond))
		// The clock of a busy machine stands still now and then; the bench has the figure.
		if took > 2*time.Second || pub.PLIs() < 1 {
			t.Errorf("after %v, %d key frames asked for", took, pub.PLIs())
		}
		return
	}
}

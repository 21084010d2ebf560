package rtc

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
)

// told is when a sender heard of how many packets.
type told struct {
	at      time.Duration
	packets uint16
	first   uint16
}

// hear lets packets with these transport-wide numbers come so far apart, and then no more
// for a minute.
func hear(t *testing.T, apart time.Duration, numbers ...uint16) (all []told) {
	begun := time.Now()
	i, err := newArrivals{}.NewInterceptor("")
	if err != nil {
		t.Fatal(err)
	}
	i.BindRTCPWriter(interceptor.RTCPWriterFunc(func(packets []rtcp.Packet, _ interceptor.Attributes) (int, error) {
		for _, p := range packets {
			f := p.(*rtcp.TransportLayerCC)
			all = append(all, told{time.Since(begun), f.PacketStatusCount, f.BaseSequenceNumber})
		}
		return 0, nil
	}))
	var next rtp.Packet
	read := i.BindRemoteStream(&interceptor.StreamInfo{
		SSRC: 7, RTPHeaderExtensions: []interceptor.RTPHeaderExtension{{URI: sdp.TransportCCURI, ID: 3}},
	}, interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, err := next.MarshalTo(b)
		return n, a, err
	}))
	b := make([]byte, 1500)
	for _, n := range numbers {
		next = rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 7}, Payload: []byte{1}}
		if err := next.SetExtension(3, []byte{byte(n >> 8), byte(n)}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := read.Read(b, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(apart)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	return all
}

func TestASenderHearsUpToTenTimesASecondWhichPacketsCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := hear(t, 40*time.Millisecond, 65534, 65535, 0, 1, 3, 4, 5) // 2 is lost
		want := []told{{0, 1, 65534}, {120 * time.Millisecond, 3, 65535}, {240 * time.Millisecond, 4, 2}}
		if !slices.Equal(got, want) {
			t.Errorf("it heard %v, not %v", got, want)
		}
	})
}

func TestASenderHearsOfTheLastPacketsBeforeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := hear(t, 40*time.Millisecond, 1, 2, 3)
		if want := []told{{0, 1, 1}, {feedbackLate, 2, 2}}; !slices.Equal(got, want) {
			t.Errorf("it heard %v, not %v", got, want)
		}
	})
}

func TestASenderHearsOfEachPacketThatComesRarely(t *testing.T) {
	for _, apart := range []time.Duration{feedbackLate + feedbackEvery/2, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			got := hear(t, apart, 1, 2)
			if want := []told{{0, 1, 1}, {apart, 1, 2}}; !slices.Equal(got, want) {
				t.Errorf("it heard %v, not %v", got, want)
			}
		})
	}
}

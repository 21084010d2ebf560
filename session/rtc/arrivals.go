package rtc

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// feedbackEvery is how often a sender is told when its packets came. Of the last ones
// before a pause it is told after feedbackLate.
const (
	feedbackEvery = 100 * time.Millisecond
	feedbackLate  = 250 * time.Millisecond
)

// arrivals tells the sender of a connection when its packets came, by which it knows what
// its line can carry (transport-wide congestion control). It is the library's recorder, but
// asked whenever a packet comes and it is time: the library's own interceptor is woken by
// a clock too, and by each packet, which costs a camera an eighth of its wake-ups.
type arrivals struct {
	interceptor.NoOp
	begun time.Time
	out   interceptor.RTCPWriter // set before there are streams

	mu     sync.Mutex
	rec    *twcc.Recorder // guarded by mu
	told   time.Time      // guarded by mu
	late   *time.Timer    // guarded by mu
	closed bool           // guarded by mu
}

// newArrivals is an interceptor.Factory.
type newArrivals struct{}

func (newArrivals) NewInterceptor(string) (interceptor.Interceptor, error) {
	a := &arrivals{begun: time.Now(), rec: twcc.NewRecorder(rand.Uint32())} //nolint:gosec // G404: not a secret
	a.late = time.AfterFunc(time.Hour, a.tell)
	a.late.Stop()
	return a, nil
}

// Close implements interceptor.Interceptor.
func (a *arrivals) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.late.Stop()
	return nil
}

// offerFeedback has the answers offer what arrivals sends, for video: sound is declined.
func offerFeedback(m *webrtc.MediaEngine, r *interceptor.Registry) error {
	m.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, webrtc.RTPCodecTypeVideo)
	r.Add(newArrivals{})
	return m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: sdp.TransportCCURI}, webrtc.RTPCodecTypeVideo)
}

// BindRTCPWriter implements interceptor.Interceptor.
func (a *arrivals) BindRTCPWriter(w interceptor.RTCPWriter) interceptor.RTCPWriter {
	a.out = w
	return w
}

// BindRemoteStream implements interceptor.Interceptor.
func (a *arrivals) BindRemoteStream(info *interceptor.StreamInfo, next interceptor.RTPReader) interceptor.RTPReader {
	id := uint8(0)
	for _, e := range info.RTPHeaderExtensions {
		if e.URI == sdp.TransportCCURI {
			id = uint8(e.ID) //nolint:gosec // G115: 1 to 255
		}
	}
	if id == 0 { // the sender does not number its packets
		return next
	}
	return interceptor.RTPReaderFunc(func(b []byte, attr interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, attr, err := next.Read(b, attr)
		if err != nil {
			return n, attr, err
		}
		if attr == nil {
			attr = make(interceptor.Attributes)
		}
		h, err := attr.GetRTPHeader(b[:n])
		if err != nil {
			return n, attr, err
		}
		a.arrived(info.SSRC, h.GetExtension(id))
		return n, attr, nil
	})
}

// arrived notes that a packet came with this header extension, and tells the sender if it
// is time.
func (a *arrivals) arrived(ssrc uint32, number []byte) {
	var ext rtp.TransportCCExtension
	if ext.Unmarshal(number) == nil && a.record(ssrc, ext.TransportSequence) {
		a.tell()
	}
}

// record says whether it is time to tell.
func (a *arrivals) record(ssrc uint32, number uint16) bool {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rec.Record(ssrc, number, now.Sub(a.begun).Microseconds())
	return now.Sub(a.told) >= feedbackEvery
}

// tell sends what was recorded since the last time.
func (a *arrivals) tell() {
	if feedback := a.feedback(); len(feedback) > 0 {
		_, _ = a.out.Write(feedback, nil) // the next one tells of later packets
	}
}

func (a *arrivals) feedback() []rtcp.Packet {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	feedback := a.rec.BuildFeedbackPacket()
	if len(feedback) > 0 {
		a.told = time.Now()
		a.late.Reset(feedbackLate)
	}
	return feedback
}

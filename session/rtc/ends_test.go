package rtc_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtp"

	"detections/hub"
	"detections/media"
	"detections/session"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// interrupted is a hub whose new sessions have as many segments as can wait.
type interrupted struct {
	rtc.Hub
	decoding <-chan struct{} // receives when the first of them is taken
}

func (h interrupted) Start(ctx context.Context, principal string, m wire.Start) (*session.Attachment, error) {
	a, err := h.Hub.Start(ctx, principal, m)
	if err != nil {
		return nil, err
	}
	for n := 0; err == nil; n++ {
		a.Feeder, _ = a.Session.Attach()
		err = a.Feeder.WriteUnit(&media.Unit{Codec: "vp8", Key: true, Data: []byte("K")})
		if n == 0 {
			<-h.decoding
		}
	}
	return a, nil
}

// held waits.
func held(ctx context.Context, until <-chan struct{}) error {
	select {
	case <-until:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// Media that is not taken now is not the session's end: the client is told, and lets go,
// and can come back.
func TestAClientWhoseMediaIsNotTakenNowIsToldAndLetGo(t *testing.T) {
	calm, decoding := make(chan struct{}), make(chan struct{}, 100)
	decoders := sessiontest.Config{Starting: func(ctx context.Context) error {
		decoding <- struct{}{}
		return held(ctx, calm)
	}}
	s := furnish(t, hub.Limits{}, rtc.Config{}, decoders, func(h rtc.Hub) rtc.Hub { return interrupted{h, decoding} })
	pub := s.publish(rtctest.Options{}, loopback())
	if m := s.next(pub, "error"); m.Code != "overloaded" || !m.Fatal || !m.Temporary {
		t.Errorf("error %+v", m)
	}
	s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
	if s.hub.Running() != 1 {
		t.Error("the session has ended")
	}
	close(calm)
	s.until("the segments are decoded", func() bool { return s.hub.Sessions("local")[0].Accounting.Decoded > 60 })
	s.next(s.publish(rtctest.Options{URL: "?session=" + pub.Session}, loopback()), "detections")
}

func TestADeletedConnectionCountsUntilItIsGone(t *testing.T) {
	calm := make(chan struct{})
	decoders := sessiontest.Config{Starting: func(ctx context.Context) error { return held(ctx, calm) }}
	s := furnish(t, hub.Limits{}, rtc.Config{}, decoders, func(h rtc.Hub) rtc.Hub { return h })
	pub := s.publish(rtctest.Options{}, loopback())
	s.until("media has come", func() bool { return s.hub.Sessions("local")[0].Received > 0 })
	if err := pub.Delete(); err != nil {
		t.Fatal(err)
	}
	if n := s.rtc.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	close(calm)
	s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
}

// A client that is connected and sends nothing that can be used does not keep its place.
func TestASessionWithoutAnyPictureEnds(t *testing.T) {
	for name, o := range map[string]rtctest.Options{
		"nothing is sent":   {Still: true},
		"of no known codec": {Wire: func(h *rtp.Header) { h.PayloadType = 60 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHouse(t, hub.Limits{}, rtc.Config{First: 300 * ms})
			pub := s.publish(o, loopback())
			if end := s.next(pub, "end"); end.Code != "upload_incomplete" {
				t.Errorf("end %+v", end)
			}
			s.until("the connection is gone", func() bool { return s.rtc.Connections() == 0 })
		})
	}
}

// A camera that pauses sends nothing, for as long as it likes.
func TestACameraMayPause(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{First: 2 * time.Second})
	pub := s.publish(rtctest.Options{Still: true}, loopback())
	s.next(pub, "started")
	key := clip().Frames[0].Data
	for range 3 { // the third time it was connected for longer
		if err := pub.Send(key); err != nil {
			t.Fatal(err)
		}
		s.next(pub, "detections")
		s.next(pub, "progress") // is told every second, from when the channel opened
	}
}

func TestAPacketOfAnUnknownCodecHarmsNothing(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	var n atomic.Int64
	pub := s.publish(rtctest.Options{Wire: func(h *rtp.Header) {
		if n.Add(1)%20 == 0 {
			h.PayloadType = 60
		}
	}}, loopback())
	last := s.next(pub, "detections")
	for pub.Frame(*last.RTP) < 100 {
		last = s.next(pub, "detections")
	}
}

// A sender that begins another stream, as one does that has begun to encode anew, is
// followed, and time goes on.
func TestAnotherStreamIsFollowed(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	var mu sync.Mutex
	var number, clock uint32
	pub := s.publish(rtctest.Options{Offer: nameless, Wire: func(h *rtp.Header) {
		mu.Lock()
		defer mu.Unlock()
		h.SSRC += number
		h.Timestamp += clock
	}}, loopback())
	decoded := func() int64 { return s.hub.Sessions("local")[0].Accounting.Decoded }
	s.until("frames come", func() bool { return decoded() > 5 })
	for range 3 {
		mu.Lock()
		number, clock = number+1, clock+1<<30
		mu.Unlock()
		before := decoded()
		s.until("frames come", func() bool { return decoded() > before+20 })
	}
	if n := s.rtc.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if err := pub.Delete(); err != nil {
		t.Fatal(err)
	}
}

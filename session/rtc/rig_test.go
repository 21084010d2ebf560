package rtc_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
	"detections/session/sessiontest"
	"detections/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

const ms = time.Millisecond

// house is a hub with its WebRTC door and everything real but decoding and inference.
type house struct {
	*httptest.Server
	t   *testing.T
	hub *hub.Hub
	rtc *rtc.Server
}

func newHouse(t *testing.T, limits hub.Limits, c rtc.Config) *house {
	t.Helper()
	return furnish(t, limits, c, sessiontest.Config{}, func(h rtc.Hub) rtc.Hub { return h })
}

// furnish is newHouse with other decoders, and something between the hub and its door.
func furnish(t *testing.T, limits hub.Limits, c rtc.Config, decoders sessiontest.Config, between func(rtc.Hub) rtc.Hub) *house {
	t.Helper()
	ai := hub.NewAI(func(context.Context, func(hub.Availability, float64)) (*infer.Batcher, error) {
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}})
	}, nil)
	ai.Run(t.Context())
	h, err := hub.New(hub.Config{Dir: t.TempDir(), AI: ai, Limits: limits, Decoders: &sessiontest.Decoders{Config: decoders}})
	if err != nil {
		t.Fatal(err)
	}
	c.Hub, c.Listen = between(h), cmp.Or(c.Listen, "127.0.0.1:0")
	door, err := rtc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	face, err := web.New(web.Config{Hub: h, RTC: door, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &house{httptest.NewServer(face), t, h, door}
	t.Cleanup(func() {
		s.Client().CloseIdleConnections()
		s.CloseClientConnections()
		if err := door.Close(); err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		s.Close()
		face.Wait()
		if err := ai.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// clip is scripted video that looks like VP8: a key frame of several packets, and
// small frames behind it.
func clip() *rtctest.Clip {
	c := &rtctest.Clip{MimeType: webrtc.MimeTypeVP8}
	for i := range 30 {
		f := rtctest.Frame{Data: bytes.Repeat([]byte{1}, 500), Key: i == 0}
		if f.Key {
			f.Data = bytes.Repeat([]byte{0}, 5000)
		}
		c.Frames = append(c.Frames, f)
	}
	return c
}

func loopback() (e webrtc.SettingEngine) {
	e.SetIncludeLoopbackCandidate(true)
	return e
}

// publish publishes the scripted clip every 20 ms.
func (s *house) publish(o rtctest.Options, e webrtc.SettingEngine) *rtctest.Publisher {
	s.t.Helper()
	pub, err := s.dial(o, e)
	if err != nil {
		s.t.Fatal(err)
	}
	return pub
}

func (s *house) dial(o rtctest.Options, e webrtc.SettingEngine) (*rtctest.Publisher, error) {
	if o.Clip == nil {
		o.Clip = clip()
	}
	if o.Interval == 0 {
		o.Interval = 20 * ms
	}
	o.HTTP, o.Settings, o.URL = s.Client(), e, s.URL+"/v1/whip"+o.URL
	pub, err := rtctest.Publish(context.WithoutCancel(s.t.Context()), o)
	if err == nil {
		s.t.Cleanup(pub.Close)
	}
	return pub, err
}

// message is what a hub says.
type message struct {
	Type       string
	Frame      int64
	RTP        *uint32  `json:"rtp_ts"`
	Client     *float64 `json:"client_ts"`
	PTS        float64  `json:"pts_ms"`
	Code       string
	ID         string
	Reason     string
	Outcome    string
	Session    string
	Offset     uint64
	Fatal      bool
	Temporary  bool
	Width      int
	Height     int
	Accounting struct {
		Decoded, Inferred int64
		Undecoded         map[string]int64
	}
}

// next is the next message of a type on the data channel.
func (s *house) next(pub *rtctest.Publisher, kind string) message {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case text, ok := <-pub.Messages:
			if !ok {
				s.t.Fatalf("the channel closed before %s", kind)
			}
			var m message
			if err := json.Unmarshal(text.Data, &m); err != nil {
				s.t.Fatalf("%s: %v", text.Data, err)
			}
			if m.Type == kind {
				return m
			}
		case <-deadline:
			s.t.Fatalf("no %s", kind)
		}
	}
}

// until waits until something holds.
func (s *house) until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * ms) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// do sends a request; headers come in pairs.
func (s *house) do(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, bytes.NewBufferString(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(text)
}

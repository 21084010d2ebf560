package rtc_test

import (
	"io"
	"net"
	"regexp"
	"testing"

	"github.com/pion/logging"
	"github.com/pion/turn/v5"
	"github.com/pion/webrtc/v4"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

// relay is a TURN server for one user, over UDP and over TCP.
func relay(t *testing.T, user, credential string) (urls map[string]string) {
	t.Helper()
	const realm = "detections"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addresses := &turn.RelayAddressGeneratorStatic{RelayAddress: net.IPv4(127, 0, 0, 1), Address: "127.0.0.1"}
	s, err := turn.NewServer(turn.ServerConfig{
		Realm:         realm,
		LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard},
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, turn.GenerateAuthKey(user, realm, credential), r.Username == user
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: c, RelayAddressGenerator: addresses}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: l, RelayAddressGenerator: addresses}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]string{"UDP": "turn:" + c.LocalAddr().String(), "TCP": "turn:" + l.Addr().String() + "?transport=tcp"}
}

// Who cannot send to the hub goes over the relay that OPTIONS tells of.
func TestAClientGoesOverTheRelayItIsTold(t *testing.T) {
	told := regexp.MustCompile(`^<([^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"; credential-type="password"$`)
	for way, url := range relay(t, "cam", "secret") {
		t.Run(way, func(t *testing.T) {
			s := newHouse(t, hub.Limits{}, rtc.Config{ICEServers: []rtc.ICEServer{{URL: url, Username: "cam", Credential: "secret"}}})
			res, _ := s.do("OPTIONS", "/v1/whip", "")
			link := told.FindStringSubmatch(res.Header.Get("Link"))
			if link == nil {
				t.Fatalf("Link: %q", res.Header.Get("Link"))
			}
			e := loopback()
			e.SetRelayAcceptanceMinWait(0) // a better way need not be waited for
			pub := s.publish(rtctest.Options{Relay: &webrtc.ICEServer{URLs: link[1:2], Username: link[2], Credential: link[3]}}, e)
			s.next(pub, "detections")
			pair, err := pub.PC.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
			if err != nil || pair.Local.Typ != webrtc.ICECandidateTypeRelay {
				t.Errorf("%v %v", pair, err)
			}
		})
	}
}

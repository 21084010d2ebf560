package rtc_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"detections/hub"
	"detections/session/rtc"
	"detections/session/rtc/rtctest"
)

// A sender learns what its line can carry: from when its packets came (transport-wide
// congestion control), and from reports of what was lost.
func TestTheSenderHearsHowItsPacketsCame(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{})
	pub := s.publish(rtctest.Options{}, loopback())
	s.until("it is told when packets came", func() bool { return pub.Arrived() > 10 })
	s.until("it is told what was lost", func() bool { return pub.Reports() > 0 })
	answer := pub.PC.RemoteDescription().SDP
	for word, want := range map[string]bool{
		"transport-cc": true, "nack pli": true, "draft-holmer-rmcat-transport-wide-cc": true, "urn:3gpp:video-orientation": true, "abs-capture-time": true,
		"goog-remb": false, // is not sent: browsers prefer the other
	} {
		if strings.Contains(answer, word) != want {
			t.Errorf("the answer has %s: %v\n%s", word, !want, answer)
		}
	}
}

// candidates are the addresses of an answer.
func (s *house) candidates() (all []netip.AddrPort) {
	s.t.Helper()
	_, answer := s.do("POST", "/v1/whip", offer(s.t, video), "Content-Type", "application/sdp")
	for line := range strings.Lines(answer) {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, "a=candidate:") || strings.EqualFold(f[2], "tcp") {
			continue
		}
		at, err := netip.ParseAddrPort(net.JoinHostPort(f[4], f[5]))
		if err != nil {
			s.t.Fatal(err)
		}
		if !slices.Contains(all, at) {
			all = append(all, at)
		}
	}
	return all
}

func TestAPublicAddressIsOfferedBesideTheOwn(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{PublicIPs: []string{"203.0.113.7"}})
	own := s.rtc.Addr().(*net.UDPAddr).AddrPort()
	want := []netip.AddrPort{own, netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), own.Port())}
	got := s.candidates()
	slices.SortFunc(got, netip.AddrPort.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("offered are %v, not %v", got, want)
	}
}

func TestOnlyTheInterfacesThatAreNamedAreOffered(t *testing.T) {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil || i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 || len(addrs) == 0 {
			continue
		}
		s := newHouse(t, hub.Limits{}, rtc.Config{Listen: "0.0.0.0:0", Interfaces: []string{i.Name}})
		for _, c := range s.candidates() {
			if !slices.ContainsFunc(addrs, func(a net.Addr) bool {
				p, err := netip.ParsePrefix(a.String())
				return err == nil && p.Addr() == c.Addr().WithZone("")
			}) {
				t.Errorf("%s is offered, which is not of %s", c, i.Name)
			}
		}
	}
}

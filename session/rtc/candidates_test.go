package rtc

import (
	"strings"
	"testing"
)

func TestTheBestCandidateComesFirst(t *testing.T) {
	const (
		head  = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
		tcp   = "a=candidate:1 1 tcp 1671430143 192.0.2.1 8189 typ host tcptype passive\r\n"
		udp   = "a=candidate:2 1 udp 2130706431 192.0.2.1 8189 typ host\r\n"
		other = "a=candidate:3 1 udp 1694498815 203.0.113.7 8189 typ srflx\r\n"
		next  = "a=end-of-candidates\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
	)
	got := bestFirst(head + tcp + other + udp + next + tcp + udp)
	if want := head + udp + other + tcp + next + udp + tcp; got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
	for _, same := range []string{"", "v=0\r\n", "a=candidate:", "a=candidate:x\r\na=candidate:y\r\n"} {
		if got := bestFirst(same); got != same {
			t.Errorf("%q became %q", same, strings.TrimSpace(got))
		}
	}
}

package rtc_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"detections/hub"
	"detections/session/rtc"
)

// FFmpeg's muxer takes the first candidate and gives up if that is TCP. Of answers whose
// candidates come in the order in which they were found one in nine has it first.
func TestAnAnswerHasTheBestCandidateFirst(t *testing.T) {
	s := newHouse(t, hub.Limits{}, rtc.Config{PublicIPs: []string{"203.0.113.7"}})
	for range 40 {
		res, answer := s.do("POST", "/v1/whip", offer(t, video), "Content-Type", "application/sdp")
		var kinds []string
		var priorities []int
		for line := range strings.SplitSeq(answer, "\r\n") {
			if strings.HasPrefix(line, "a=candidate:") {
				words := strings.Fields(line)
				n, _ := strconv.Atoi(words[3])
				kinds, priorities = append(kinds, words[2]), append(priorities, -n)
			}
		}
		if res.StatusCode != 201 || len(kinds) < 4 || kinds[0] != "udp" || !slices.IsSorted(priorities) {
			t.Fatalf("%d, %v by priorities %v", res.StatusCode, kinds, priorities)
		}
		s.do("DELETE", res.Header.Get("Location"), "")
	}
}

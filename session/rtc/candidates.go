package rtc

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// bestFirst puts the candidates of each section of an SDP into the order of their
// priorities. The library lists them as they were found, UDP or TCP first by chance, and
// FFmpeg's muxer tries only the first: it gives up if that is TCP.
func bestFirst(sdp string) string {
	lines := strings.SplitAfter(sdp, "\r\n")
	isCandidate := func(line string) bool { return strings.HasPrefix(line, "a=candidate:") }
	for i := 0; i < len(lines); i++ {
		n := i
		for n < len(lines) && isCandidate(lines[n]) {
			n++
		}
		slices.SortStableFunc(lines[i:n], func(a, b string) int { return cmp.Compare(priority(b), priority(a)) })
		i = n
	}
	return strings.Join(lines, "")
}

// priority is the fourth word of a candidate.
func priority(line string) uint64 {
	words := strings.Fields(line)
	if len(words) < 4 {
		return 0
	}
	p, _ := strconv.ParseUint(words[3], 10, 64)
	return p
}

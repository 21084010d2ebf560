package rtc

import (
	"fmt"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"detections/session/wire"
)

// Bounds of what a client can say of its addresses.
const (
	MaxFragment   = 16 << 10 // bytes
	maxCandidates = 64       // between two restarts of ICE
	maxRestarts   = 1000
)

// ErrETag is a PATCH of an ICE session that there is no more.
var ErrETag = wire.Errorf(wire.Conflict, "If-Match names another ICE session than the one in force; take the ETag of the last answer")

// fragment is what a trickle-ice-sdpfrag says (RFC 8840).
type fragment struct {
	ufrag, pwd string
	candidates []webrtc.ICECandidateInit
}

func parseFragment(text string) (*fragment, error) {
	if len(text) > MaxFragment {
		return nil, wire.Errorf(wire.TooLarge, "a trickle fragment has at most %d bytes", MaxFragment)
	}
	f := &fragment{}
	var mid *string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, wire.Errorf(wire.BadMessage, "the trickle fragment has a line that is none of SDP: %.60q", line)
		}
		if line[0] == 'm' {
			mid = nil
		}
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		if line[0] != 'a' {
			continue
		}
		switch key {
		case "ice-ufrag":
			f.ufrag = value
		case "ice-pwd":
			f.pwd = value
		case "mid":
			mid = &value
		case "candidate":
			if len(f.candidates) == maxCandidates {
				return nil, wire.Errorf(wire.Quota, "more than %d candidates", maxCandidates)
			}
			f.candidates = append(f.candidates, webrtc.ICECandidateInit{Candidate: key + ":" + value, SDPMid: mid})
		}
	}
	return f, nil
}

// Patch takes a client's candidates, or restarts ICE if match is "*" and the fragment
// has other credentials. Only after a restart there is an answer.
func (s *Server) Patch(principal, resource, match, text string) (answer, etag string, err error) {
	f, err := parseFragment(text)
	if err != nil {
		return "", "", err
	}
	c, err := s.find(principal, resource)
	if err != nil {
		return "", "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.offer.sdp
	restart := f.ufrag != "" && f.ufrag != ufragOf(old)
	switch {
	case match != "*" && match != c.etag:
		return "", "", ErrETag
	case restart && match != "*" || restart && f.pwd == "":
		return "", "", wire.Errorf(wire.BadMessage, "to restart ICE send If-Match: * with a=ice-ufrag and a=ice-pwd")
	case restart:
		answer, err = c.restartICE(f)
		return answer, c.etag, err
	}
	return "", c.etag, c.addCandidates(f)
}

func (c *conn) addCandidates(f *fragment) error {
	if c.candidates += len(f.candidates); c.candidates > maxCandidates {
		return wire.Errorf(wire.Quota, "more than %d candidates", maxCandidates)
	}
	for _, cand := range f.candidates {
		if cand.SDPMid == nil {
			mid := c.mid()
			cand.SDPMid = &mid
		}
		if err := c.pc.AddICECandidate(cand); err != nil {
			return wire.Errorf(wire.BadMessage, "the candidate %.100q cannot be used: %.200s", cand.Candidate, err)
		}
	}
	return nil
}

// mid is that of the first section: all are bundled.
func (c *conn) mid() string {
	mid, _ := c.offer.sdp.MediaDescriptions[0].Attribute("mid")
	return mid
}

// restartICE takes the offer of before with other credentials and addresses.
func (c *conn) restartICE(f *fragment) (string, error) {
	if c.restarts == maxRestarts {
		return "", wire.Errorf(wire.Quota, "ICE was restarted %d times; begin another WHIP session", maxRestarts)
	}
	set := func(all []sdp.Attribute) []sdp.Attribute {
		var out []sdp.Attribute
		for _, a := range all {
			switch a.Key {
			case "candidate", "end-of-candidates":
				continue
			case "ice-ufrag":
				a.Value = f.ufrag
			case "ice-pwd":
				a.Value = f.pwd
			}
			out = append(out, a)
		}
		return out
	}
	d := c.offer.sdp
	d.Attributes = set(d.Attributes)
	for _, m := range d.MediaDescriptions {
		m.Attributes = set(m.Attributes)
	}
	d.Origin.SessionVersion++
	if err := c.offer.encode(); err != nil {
		return "", err
	}
	c.restarts++
	c.candidates = 0
	text, err := c.answer()
	if err != nil {
		return "", wire.Errorf(wire.BadMessage, "ICE cannot be restarted: %.200s", err)
	}
	if err := c.addCandidates(f); err != nil {
		return "", err
	}
	return answerFragment(text)
}

// answerFragment is what of an answer tells credentials and addresses.
func answerFragment(text string) (string, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return "", err
	}
	var b strings.Builder
	pwd := ""
	for _, all := range append([][]sdp.Attribute{d.Attributes}, attributes(&d)...) {
		for _, a := range all {
			if a.Key == "ice-pwd" && pwd == "" {
				pwd = a.Value
			}
		}
	}
	fmt.Fprintf(&b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", ufragOf(&d), pwd)
	for _, m := range d.MediaDescriptions {
		if m.MediaName.Port.Value == 0 {
			continue
		}
		mid, _ := m.Attribute("mid")
		fmt.Fprintf(&b, "m=%s\r\na=mid:%s\r\n", m.MediaName.String(), mid)
		for _, a := range m.Attributes {
			if a.Key == "candidate" || a.Key == "end-of-candidates" {
				b.WriteString("a=" + a.String() + "\r\n")
			}
		}
		break // all are bundled
	}
	return b.String(), nil
}

func attributes(d *sdp.SessionDescription) (all [][]sdp.Attribute) {
	for _, m := range d.MediaDescriptions {
		all = append(all, m.Attributes)
	}
	return all
}

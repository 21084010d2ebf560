package rtc

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/pion/ice/v4"
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
	if match == `"*"` {
		match = "*" // so the example of the WHIP and WHEP documents has it, and who copied it
	}
	old := c.offer.sdp
	restart := f.ufrag != "" && f.ufrag != ufragOf(old)
	switch {
	case match != "*" && match != c.etag:
		return "", "", ErrETag
	case restart && match != "*" || restart && f.pwd == "":
		return "", "", wire.Errorf(wire.BadMessage, "to restart ICE send If-Match: * with a=ice-ufrag and a=ice-pwd")
	case restart && !(isCredential(f.ufrag, 4) && isCredential(f.pwd, 22)):
		return "", "", wire.Errorf(wire.BadMessage, "ICE was not restarted: a=ice-ufrag has 4 to 256 characters and a=ice-pwd 22 to 256, of letters, digits, + and /")
	case restart:
		answer, err = c.restartICE(f)
		return answer, c.etag, err
	}
	return "", c.etag, c.addCandidates(f)
}

// isCredential says whether ICE takes a text of at least so many characters (RFC 8839). The
// library finds out only when the session of before is lost.
func isCredential(text string, least int) bool {
	for _, c := range text {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c) {
			return false
		}
	}
	return least <= len(text) && len(text) <= 256
}

// addCandidates leaves out those that are of no use here, as RFC 9725 has it: of another
// transport, with a name, or of the wrong form.
func (c *conn) addCandidates(f *fragment) error {
	for _, cand := range f.candidates {
		if !isUsable(cand.Candidate) {
			continue
		}
		if c.candidates == maxCandidates {
			return wire.Errorf(wire.Quota, "more than %d candidates", maxCandidates)
		}
		if cand.SDPMid == nil {
			mid := c.mid()
			cand.SDPMid = &mid
		}
		if err := c.pc.AddICECandidate(cand); err != nil {
			c.log.Debug("candidate", "err", err)
			continue
		}
		c.candidates++
	}
	return nil
}

// isUsable says whether a candidate is one, with an address.
func isUsable(candidate string) bool {
	c, err := ice.UnmarshalCandidate(strings.TrimPrefix(candidate, "candidate:"))
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(c.Address())
	return err == nil
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
	o, err := parseOffer(c.offer.text) // another one: the old stays in force if this fails
	if err != nil {
		return "", err
	}
	o.alone = c.offer.alone
	o.sdp.Attributes = set(o.sdp.Attributes)
	for _, m := range o.sdp.MediaDescriptions {
		m.Attributes = set(m.Attributes)
	}
	o.sdp.Origin.SessionVersion++
	if err := o.encode(); err != nil {
		return "", err
	}
	text, err := c.answer(o)
	if err != nil {
		return "", wire.Errorf(wire.BadMessage, "ICE cannot be restarted: %.200s", err)
	}
	c.restarts++
	c.offer, c.etag, c.candidates = o, etagOf(text, c.restarts), 0
	c.tracks.Store(0)
	if err := c.addCandidates(f); err != nil { // a fragment has no more than may be
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

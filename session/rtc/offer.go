package rtc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"detections/session/wire"
)

// Bounds of what a client can offer.
const (
	MaxSDP       = 128 << 10 // bytes
	maxSections  = 16
	maxFormats   = 128
	maxAttribute = 4 << 10 // lines of all sections
)

// The header extensions that are of use.
const (
	extCapture  = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time"
	extRotation = "urn:3gpp:video-orientation"
)

// offer is an SDP offer, reduced to what is taken of it.
type offer struct {
	sdp   *sdp.SessionDescription
	text  string
	video []webrtc.RTPCodecParameters
	audio []webrtc.RTPCodecParameters
	// alone: it bundles nothing, so the answer may not either.
	alone bool
}

// parseOffer takes the first video that is offered. Everything else is declined.
func parseOffer(text string) (*offer, error) {
	if len(text) > MaxSDP {
		return nil, wire.Errorf(wire.TooLarge, "the SDP offer has more than %d bytes", MaxSDP)
	}
	o := &offer{sdp: &sdp.SessionDescription{}}
	if !strings.HasPrefix(text, "v=0") {
		return nil, wire.Errorf(wire.BadMessage, "the body is no SDP: it begins with %.20q, not with v=0", text)
	}
	if err := o.sdp.UnmarshalString(text); err != nil {
		return nil, wire.Errorf(wire.BadMessage, "the SDP offer cannot be read: %.200s", err)
	}
	lines := 0
	for _, m := range o.sdp.MediaDescriptions {
		lines += len(m.Attributes)
	}
	if len(o.sdp.MediaDescriptions) > maxSections || lines > maxAttribute {
		return nil, wire.Errorf(wire.BadMessage, "the SDP offer has more than %d media sections, or more than %d attributes", maxSections, maxAttribute)
	}
	var seen []string
	found := false
	for _, m := range o.sdp.MediaDescriptions {
		kind := m.MediaName.Media
		seen = append(seen, kind)
		if _, ok := m.Attribute("mid"); !ok {
			return nil, wire.Errorf(wire.BadMessage, "the SDP offer has a media section without a=mid; WebRTC needs BUNDLE")
		}
		switch {
		case kind == "video" && !found && m.MediaName.Port.Value != 0 && sends(m):
			found = true
			o.video = formats(m, isVideo)
			if _, ok := m.Attribute("ssrc"); !ok {
				o.video = slices.DeleteFunc(o.video, repeats) // nothing would tell whose packets they repeat
			}
			simplify(m)
			o.bundle(m)
		case kind == "video" || kind == "audio":
			decline(m)
			if kind == "audio" {
				o.audio = append(o.audio, formats(m, func(webrtc.RTPCodecParameters) bool { return true })...)
			}
		}
	}
	switch {
	case !found:
		return nil, wire.Errorf(wire.UnsupportedMedia, "the SDP offer sends no video: it has %s; add a sendonly video track", list(seen))
	case len(o.video) == 0:
		return nil, wire.Errorf(wire.UnsupportedMedia, "the SDP offer has none of the codecs H264 (Baseline to High, packetization-mode 0 or 1), VP8, VP9 and AV1")
	}
	if err := o.secure(); err != nil {
		return nil, err
	}
	return o, o.encode()
}

// bundle makes a bundle of the video alone if there is none: the library rejects what is
// in no bundle, and clients with one section need not say that it is one.
func (o *offer) bundle(video *sdp.MediaDescription) {
	for _, a := range o.sdp.Attributes {
		if a.Key == "group" && strings.HasPrefix(a.Value, "BUNDLE") {
			return
		}
	}
	mid, _ := video.Attribute("mid")
	o.sdp.Attributes = append(o.sdp.Attributes, sdp.Attribute{Key: "group", Value: "BUNDLE " + mid})
	o.alone = true
}

func (o *offer) encode() error {
	b, err := o.sdp.Marshal()
	o.text = string(b)
	return err
}

// secure checks what WebRTC cannot do without.
func (o *offer) secure() error {
	has := func(name string) bool {
		_, ok := o.sdp.Attribute(name)
		for _, m := range o.sdp.MediaDescriptions {
			_, in := m.Attribute(name)
			ok = ok || in
		}
		return ok
	}
	for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		if !has(name) {
			return wire.Errorf(wire.BadMessage, "the SDP offer has no a=%s", name)
		}
	}
	return nil
}

func list(seen []string) string {
	if len(seen) == 0 {
		return "no media at all"
	}
	return fmt.Sprintf("%.100q", seen)
}

func sends(m *sdp.MediaDescription) bool {
	for _, a := range m.Attributes {
		if a.Key == "recvonly" || a.Key == "inactive" {
			return false
		}
	}
	return true
}

// decline makes a section one in which nothing is sent.
func decline(m *sdp.MediaDescription) {
	m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool {
		return slices.Contains([]string{"sendrecv", "sendonly", "recvonly", "inactive"}, a.Key)
	})
	simplify(m)
	m.Attributes = append(m.Attributes, sdp.Attribute{Key: "inactive"})
}

// simplify declines simulcast: one size is all that is of use.
func simplify(m *sdp.MediaDescription) {
	m.Attributes = slices.DeleteFunc(m.Attributes, func(a sdp.Attribute) bool {
		return a.Key == "simulcast" || a.Key == "rid" || a.Key == "ssrc-group" && strings.HasPrefix(a.Value, "SIM")
	})
}

// isVideo says whether a format is a codec that is offered.
func isVideo(p webrtc.RTPCodecParameters) bool {
	if newCodec(p) == nil || p.ClockRate != 90000 {
		return false
	}
	if !strings.EqualFold(p.MimeType, webrtc.MimeTypeH264) {
		return true
	}
	profile := parameter(p.SDPFmtpLine, "profile-level-id")
	mode := parameter(p.SDPFmtpLine, "packetization-mode")
	return (profile == "" || slices.Contains([]string{"42", "4d", "58", "64"}, strings.ToLower(profile[:min(2, len(profile))]))) &&
		(mode == "" || mode == "0" || mode == "1")
}

func parameter(fmtp, name string) string {
	for f := range strings.SplitSeq(fmtp, ";") {
		if key, value, _ := strings.Cut(strings.TrimSpace(f), "="); strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// repeats says whether a format is for packets that are sent again.
func repeats(p webrtc.RTPCodecParameters) bool { return strings.HasSuffix(p.MimeType, "/rtx") }

// formats are the section's formats that are wanted, with those that repeat their
// packets, in the client's order.
func formats(m *sdp.MediaDescription, wanted func(webrtc.RTPCodecParameters) bool) []webrtc.RTPCodecParameters {
	all := map[string]*webrtc.RTPCodecParameters{}
	entry := func(id string) *webrtc.RTPCodecParameters {
		if all[id] == nil {
			all[id] = &webrtc.RTPCodecParameters{}
		}
		return all[id]
	}
	for _, a := range m.Attributes {
		id, value, _ := strings.Cut(a.Value, " ")
		switch a.Key {
		case "rtpmap":
			name, rest, _ := strings.Cut(value, "/")
			rate, channels, _ := strings.Cut(rest, "/")
			p := entry(id)
			n, _ := strconv.ParseUint(rate, 10, 32)
			ch, _ := strconv.ParseUint(channels, 10, 16)
			p.MimeType, p.ClockRate, p.Channels = m.MediaName.Media+"/"+name, uint32(n), uint16(ch)
		case "fmtp":
			entry(id).SDPFmtpLine = value
		}
	}
	var out []webrtc.RTPCodecParameters
	kept := map[string]bool{}
	for _, again := range []bool{false, true} {
		for _, id := range m.MediaName.Formats[:min(maxFormats, len(m.MediaName.Formats))] {
			p := all[id]
			n, err := strconv.ParseUint(id, 10, 7)
			if p == nil || err != nil || kept[id] || repeats(*p) != again {
				continue
			}
			if again && !kept[parameter(p.SDPFmtpLine, "apt")] || !again && !wanted(*p) {
				continue
			}
			kept[id] = true
			p.PayloadType = webrtc.PayloadType(n)
			if !again && m.MediaName.Media == "video" {
				p.RTCPFeedback = []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "ccm", Parameter: "fir"}}
			}
			out = append(out, *p)
		}
	}
	return out
}

package rtc

import (
	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// api makes what one connection needs: the codecs are those of its offer, by the same
// numbers, so that no table of ours has to have every profile that there is. Missing
// packets are asked for by frames: the library's own NACKs go on for packets that came
// by RTX, and for those that nobody waits for any more. That a packet names its section (mid)
// is not asked for: there is one, and the library would want the name of its stream, too.
func (s *Server) api(o *offer) (*webrtc.API, error) {
	m, r := &webrtc.MediaEngine{}, &interceptor.Registry{}
	for kind, all := range map[webrtc.RTPCodecType][]webrtc.RTPCodecParameters{
		webrtc.RTPCodecTypeVideo: o.video, webrtc.RTPCodecTypeAudio: o.audio,
	} {
		for _, p := range all {
			if err := m.RegisterCodec(p, kind); err != nil {
				return nil, err
			}
		}
	}
	for _, uri := range []string{extCapture, extRotation} {
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, err
		}
	}
	if err := webrtc.ConfigureRTCPReports(r); err != nil {
		return nil, err
	}
	if err := offerFeedback(m, r); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(s.engine)), nil
}

package rtctest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// Options is what a Publisher is made of.
type Options struct {
	// URL is that of the WHIP endpoint, with its query.
	URL  string
	HTTP *http.Client // nil: the default one
	Clip *Clip
	// Interval is the time between two frames; default 100 ms.
	Interval time.Duration
	Settings webrtc.SettingEngine
	// Relay is the TURN server over which it goes, and no other way; nil: directly.
	Relay *webrtc.ICEServer
	// Channel are the data channel's properties; nil: an ordinary one.
	Channel *webrtc.DataChannelInit
	// NoChannel opens none.
	NoChannel bool
	// Trickle sends the offer without candidates, and PATCHes them.
	Trickle bool
	// Fmtp chooses among the codecs of the clip's kind; empty: the first.
	Fmtp string
	// Still publishes nothing by itself: the caller does by Send.
	Still bool
	// Offer changes the offer before it is sent; nil: nobody does.
	Offer func(sdp string) string
	// Wire changes the header of every packet, a repeated one too, as it is sent; nil: nobody does.
	Wire func(h *rtp.Header)
	// Extend changes every packet before it is sent; nil: nobody does.
	Extend func(frame int, p *rtp.Packet)
}

// Publisher is a WHIP client.
type Publisher struct {
	PC       *webrtc.PeerConnection
	Resource string // URL
	ETag     string
	Session  string
	// Messages are those of the data channel, in order; closed with it.
	Messages chan Message
	Posted   time.Time // when the POST began

	o       Options
	channel *webrtc.DataChannel // nil: none
	local   *webrtc.TrackLocalStaticRTP
	sender  *webrtc.RTPSender
	payload rtp.Payloader
	seq     uint16
	next    int          // frame of the clip
	sent    atomic.Int64 // frames so far
	wantKey atomic.Bool
	keyAt   atomic.Int64
	plis    atomic.Int64
	reports atomic.Int64
	arrived atomic.Int64
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup

	mu  sync.Mutex
	at  map[uint32]time.Time // when the frame with a time stamp was sent
	off sync.Once
}

// Message came on the data channel.
type Message struct {
	At   time.Time
	Data []byte
}

// FirstRTP is the time stamp of the first frame.
const FirstRTP = 0xffffff00 // it wraps soon

// Publish connects, and begins to send as soon as it is connected.
func Publish(ctx context.Context, o Options) (*Publisher, error) {
	if o.Interval == 0 {
		o.Interval = 100 * time.Millisecond
	}
	if o.HTTP == nil {
		o.HTTP = http.DefaultClient
	}
	m, r := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := errors.Join(m.RegisterDefaultCodecs(), webrtc.RegisterDefaultInterceptors(m, r), webrtc.ConfigureTWCCHeaderExtensionSender(m, r)); err != nil {
		return nil, err
	}
	for _, uri := range []string{"http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time", "urn:3gpp:video-orientation"} {
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo); err != nil {
			return nil, err
		}
	}
	if o.Wire != nil {
		r.Add(&wire{change: o.Wire})
	}
	p := &Publisher{o: o, Messages: make(chan Message, 4096), at: map[uint32]time.Time{}}
	p.ctx, p.stop = context.WithCancel(ctx)
	p.keyAt.Store(-1)
	if o.Settings.LoggerFactory == nil {
		o.Settings.LoggerFactory = quiet()
	}
	var config webrtc.Configuration
	if o.Relay != nil {
		config = webrtc.Configuration{ICEServers: []webrtc.ICEServer{*o.Relay}, ICETransportPolicy: webrtc.ICETransportPolicyRelay}
	}
	var err error
	p.PC, err = webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithInterceptorRegistry(r), webrtc.WithSettingEngine(o.Settings)).NewPeerConnection(config)
	if err != nil {
		return nil, err
	}
	if err := p.connect(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Publisher) connect() error {
	c := webrtc.RTPCodecCapability{MimeType: p.o.Clip.MimeType, ClockRate: 90000, SDPFmtpLine: p.o.Fmtp}
	var err error
	if p.local, err = webrtc.NewTrackLocalStaticRTP(c, "video", "camera"); err != nil {
		return err
	}
	t, err := p.PC.AddTransceiverFromTrack(p.local, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return err
	}
	p.sender = t.Sender()
	p.payload = p.o.Clip.Payloader()
	if !p.o.NoChannel {
		d, err := p.PC.CreateDataChannel("detections.v1", p.o.Channel)
		if err != nil {
			return err
		}
		p.channel = d
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			select {
			case p.Messages <- Message{time.Now(), m.Data}:
			case <-p.ctx.Done():
			}
		})
	}
	connected := make(chan struct{})
	var once sync.Once
	p.PC.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		if st == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	if err := p.offer(); err != nil {
		return err
	}
	p.work.Go(p.listen)
	if !p.o.Still {
		p.work.Go(func() {
			select {
			case <-connected:
				p.play()
			case <-p.ctx.Done():
			}
		})
	}
	return nil
}

func (p *Publisher) offer() error {
	var trickled []string
	var mu sync.Mutex
	p.PC.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			mu.Lock()
			trickled = append(trickled, c.ToJSON().Candidate)
			mu.Unlock()
		}
	})
	offer, err := p.PC.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.PC)
	if err := p.PC.SetLocalDescription(offer); err != nil {
		return err
	}
	if !p.o.Trickle {
		<-gathered
		offer = *p.PC.LocalDescription()
	}
	if p.o.Offer != nil {
		offer.SDP = p.o.Offer(offer.SDP)
	}
	p.Posted = time.Now()
	res, answer, err := p.Do(http.MethodPost, p.o.URL, "application/sdp", offer.SDP)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusCreated {
		return &StatusError{res.StatusCode, answer}
	}
	at, err := res.Request.URL.Parse(res.Header.Get("Location"))
	if err != nil {
		return err
	}
	p.Resource, p.ETag, p.Session = at.String(), res.Header.Get("ETag"), res.Header.Get("Session")
	if err := p.PC.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return err
	}
	if !p.o.Trickle {
		return nil
	}
	<-gathered
	mu.Lock()
	defer mu.Unlock()
	res, text, err := p.Do(http.MethodPatch, p.Resource, "application/trickle-ice-sdpfrag", "a=mid:0\r\na="+strings.Join(trickled, "\r\na=")+"\r\na=end-of-candidates\r\n", "If-Match", p.ETag)
	if err == nil && res.StatusCode != http.StatusNoContent {
		err = &StatusError{res.StatusCode, text}
	}
	return err
}

// wire is an interceptor, and makes itself.
type wire struct {
	interceptor.NoOp
	change func(h *rtp.Header)
}

func (w *wire) NewInterceptor(string) (interceptor.Interceptor, error) { return w, nil }

// BindLocalStream implements interceptor.Interceptor.
func (w *wire) BindLocalStream(_ *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, b []byte, a interceptor.Attributes) (int, error) {
		h = new(h.Clone())
		w.change(h)
		return next.Write(h, b, a)
	})
}

// listen hears what the hub says of the stream.
func (p *Publisher) listen() {
	for {
		all, _, err := p.sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, r := range all {
			switch r := r.(type) {
			case *rtcp.PictureLossIndication:
				p.plis.Add(1)
				p.wantKey.Store(true)
			case *rtcp.ReceiverReport:
				p.reports.Add(int64(len(r.Reports)))
			case *rtcp.TransportLayerCC:
				p.arrived.Add(int64(len(r.RecvDeltas)))
			}
		}
	}
}

// Clip is what is published.
func (p *Publisher) Clip() *Clip { return p.o.Clip }

// Say sends a message on the data channel.
func (p *Publisher) Say(text string) error { return p.channel.SendText(text) }

// Hang closes the data channel.
func (p *Publisher) Hang() error { return p.channel.Close() }

// KeyAt lets a frame be a key frame, though nobody asks for one.
func (p *Publisher) KeyAt(frame int) { p.keyAt.Store(int64(frame)) }

// PLIs is how often a key frame was asked for.
func (p *Publisher) PLIs() int64 { return p.plis.Load() }

// Reports is how often the hub reported what it received of the stream.
func (p *Publisher) Reports() int64 { return p.reports.Load() }

// Arrived is of how many packets the hub told when they came, for an estimate of the line.
func (p *Publisher) Arrived() int64 { return p.arrived.Load() }

// ExtensionID is the number that was agreed on for a header extension; 0: none was.
func (p *Publisher) ExtensionID(uri string) uint8 {
	for _, e := range p.sender.GetParameters().HeaderExtensions {
		if e.URI == uri {
			return uint8(e.ID)
		}
	}
	return 0
}

// play sends the clip again and again. Asked for a key frame, it goes back to one, as
// an encoder would make one.
func (p *Publisher) play() {
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	for {
		if p.wantKey.Swap(false) || p.keyAt.Load() == p.sent.Load() {
			for !p.o.Clip.Frames[p.next].Key {
				p.next--
			}
		}
		if p.Send(p.o.Clip.Frames[p.next].Data) != nil {
			return
		}
		p.next = (p.next + 1) % len(p.o.Clip.Frames)
		select {
		case <-tick.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// MTU is how long a payload is at most, in bytes.
const MTU = 1200

// Send sends a frame. One goroutine at a time may call it.
func (p *Publisher) Send(frame []byte) error { return p.send(p.payload.Payload(MTU, frame)) }

// SendRaw sends what need not be of the codec, or a frame of it.
func (p *Publisher) SendRaw(b []byte, isFrame bool) error {
	if isFrame {
		return p.Send(b)
	}
	return p.send(slices.Collect(slices.Chunk(b, MTU)))
}

func (p *Publisher) send(payloads [][]byte) error {
	number := int(p.sent.Load())
	ts := p.TimeStamp(number)
	p.mu.Lock()
	p.at[ts] = time.Now()
	p.mu.Unlock()
	for i, b := range payloads {
		packet := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: p.seq, Timestamp: ts, Marker: i == len(payloads)-1}, Payload: b}
		if p.o.Extend != nil {
			p.o.Extend(number, packet)
		}
		p.seq++
		if err := p.local.WriteRTP(packet); err != nil {
			return err
		}
	}
	p.sent.Add(1)
	return nil
}

// TimeStamp is the RTP time stamp of a frame.
func (p *Publisher) TimeStamp(frame int) uint32 {
	return FirstRTP + uint32(int64(frame)*int64(p.o.Interval)*9/int64(100*time.Microsecond))
}

// Sent is how many frames were sent.
func (p *Publisher) Sent() int64 { return p.sent.Load() }

// Frame is the number of the frame with a time stamp.
func (p *Publisher) Frame(ts uint32) int {
	per := uint32(int64(p.o.Interval) * 9 / int64(100*time.Microsecond))
	return int((ts - FirstRTP + per/2) / per)
}

// SentAt is when the frame with a time stamp was sent; zero: there is none.
func (p *Publisher) SentAt(ts uint32) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at[ts]
}

// Close ends the connection without a word over HTTP.
func (p *Publisher) Close() {
	p.off.Do(func() {
		p.stop()
		_ = p.PC.GracefulClose() // the hub may be gone
		p.work.Wait()
		close(p.Messages)
	})
}

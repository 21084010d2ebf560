package rtc

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"detections/media"
	"detections/session/wire"
)

// When a key frame is asked for again while one is needed. At first soon after it could
// have come: on a line that loses packets, the question may be lost, and what answers it.
// Then not so often: a sender makes one for each, and they are large.
const (
	pliSoon  = 100 * time.Millisecond // and the way there and back
	pliOften = 4                      // that is done so often
	pliEvery = 250 * time.Millisecond
)

// lookEvery is how often it is looked for another track while nothing comes of this one.
const lookEvery = time.Second

// receiver turns tracks into access units. Owned by receive.
type receiver struct {
	c      *conn
	track  *webrtc.TrackRemote
	kind   webrtc.PayloadType
	frames *frames
	former former
	look   time.Time // when to look for another track next
	pli    time.Time // when a key frame was asked for last
	asked  int       // how often one was asked for since none was needed
	way    time.Duration

	begun    bool
	moved    bool      // no frame of this track was written yet
	last     uint32    // RTP time stamp of the last frame
	came     time.Time // when that did
	ticks    int64     // from the first frame to the last, of the RTP clock
	rotation int
	capture  float64 // ms since 1970, at the time stamp captured
	captured uint32
	known    bool // capture is
}

// former is the track before, until a packet of a codec of ours has come of this one.
type former struct {
	track  *webrtc.TrackRemote
	kind   webrtc.PayloadType
	frames *frames
	moved  bool
}

// receive reads one track after the other until the connection is gone, or its media is
// not taken any more. There is another one when the sender goes on with another number, or
// ICE restarts and nothing tells the number: then the library begins anew.
func (c *conn) receive() {
	r := &receiver{c: c}
	for {
		select {
		case t := <-c.track:
			r.follow(t)
		case <-c.gone:
			return
		}
		err := r.run()
		if !errors.Is(err, errTrack) {
			return
		}
		c.log.Debug("the track has ended", "err", err)
	}
}

// errTrack is that nothing more comes of a track, or that there is a newer one.
var errTrack = errors.New("no more of this track")

// follow turns to another track.
func (r *receiver) follow(t *webrtc.TrackRemote) {
	if r.frames != nil {
		r.former = former{r.track, r.kind, r.frames, r.moved}
	}
	r.track, r.frames, r.moved = t, nil, true
}

// goBack turns to the track before, if this one has something else in it: what repairs
// media, or probes the line, comes as a track too where nothing tells the numbers.
func (r *receiver) goBack() bool {
	f := r.former
	if r.frames != nil || f.track == nil {
		return false
	}
	r.track, r.kind, r.frames, r.moved, r.former = f.track, f.kind, f.frames, f.moved, former{}
	return true
}

// run reads the track and returns why it ended: errTrack, or why its media is not taken.
func (r *receiver) run() error {
	var set time.Time // most packets change nothing of it, and it has a price
	for len(r.c.track) == 0 {
		if at := r.deadline(); !at.Equal(set) {
			if err := r.track.SetReadDeadline(at); err != nil {
				return errors.Join(errTrack, err)
			}
			set = at
		}
		p, err := r.read()
		now := time.Now()
		switch {
		case isTimeout(err):
		case errors.Is(err, webrtc.ErrCodecNotFound):
			if r.goBack() {
				set = time.Time{}
			}
			continue
		case err != nil:
			return errors.Join(errTrack, err)
		case p == nil || !r.take(p, now):
			continue
		}
		if r.frames == nil {
			r.ask(now)
			continue
		}
		for f, ok := r.frames.pop(now); ok; f, ok = r.frames.pop(now) {
			if err := r.write(f, now); err != nil {
				return err
			}
		}
		r.repeat(r.frames.missing(now))
		if r.frames.needsKey() || r.frames.fearsLoss(now) || r.c.attached.Feeder.WantsKey() {
			r.ask(now)
		} else {
			r.asked = 0
		}
	}
	return errTrack
}

// read returns the next packet; nil: it is of the wrong form or size, which says nothing
// of the next one. So does ErrCodecNotFound.
func (r *receiver) read() (*rtp.Packet, error) {
	b := make([]byte, maxPacket)
	n, _, err := r.track.Read(b)
	if errors.Is(err, io.ErrShortBuffer) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &rtp.Packet{}
	if err := p.Unmarshal(b[:n]); err != nil {
		r.c.log.Debug("packet", "err", err)
		return nil, nil
	}
	return p, nil
}

// maxPacket is how long a packet is at most, in bytes.
const maxPacket = 1500

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// deadline is when there is something to do although no packet comes.
func (r *receiver) deadline() time.Time {
	if r.frames == nil {
		return time.Now().Add(pliEvery)
	}
	at := r.lookout()
	if due := r.frames.due(); !due.IsZero() && due.Before(at) {
		at = due
	}
	if again := r.pli.Add(r.patience()); r.frames.needsKey() && again.Before(at) {
		at = again
	}
	return at
}

// lookout is when to look for another track next. It moves seldom: to set a deadline has a
// price.
func (r *receiver) lookout() time.Time {
	if now := time.Now(); !now.Before(r.look) {
		r.look = now.Add(lookEvery)
	}
	return r.look
}

// take gives a packet to the frames of its codec.
func (r *receiver) take(p *rtp.Packet, now time.Time) bool {
	if r.frames == nil {
		r.pli = now // most senders begin with a key frame, and need not be asked for one
	}
	if kind := webrtc.PayloadType(p.PayloadType); r.frames == nil || kind != r.kind {
		c := newCodec(r.track.Codec())
		if c == nil {
			return false
		}
		r.kind, r.frames, r.former = kind, newFrames(c, r.c.s.cfg.Jitter), former{}
		r.c.heard.Store(true)
		r.frames.rejected = func(err error) { r.c.log.Debug("payload", "err", err) }
		for _, e := range r.c.extensions() {
			switch e.URI {
			case extCapture:
				r.frames.captureID = uint8(e.ID)
			case extRotation:
				r.frames.rotationID = uint8(e.ID)
			}
		}
	}
	r.frames.push(p, now)
	return true
}

// extensions are the header extensions of video that were agreed on.
func (c *conn) extensions() []webrtc.RTPHeaderExtensionParameter {
	for _, t := range c.pc.GetTransceivers() {
		if r := t.Receiver(); t.Kind() == webrtc.RTPCodecTypeVideo && r != nil && r.Track() != nil {
			return r.GetParameters().HeaderExtensions
		}
	}
	return nil
}

// patience is how long after a key frame was asked for one is asked for again.
func (r *receiver) patience() time.Duration {
	if r.asked < pliOften {
		return pliSoon + r.way
	}
	return pliEvery
}

// longestWay bounds how long the way there and back is believed to be.
const longestWay = 500 * time.Millisecond

// roundTrip is how long the way to the client and back takes, as far as is known.
func (c *conn) roundTrip() time.Duration {
	pair, _ := c.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePairStats()
	return min(time.Duration(pair.CurrentRoundTripTime*float64(time.Second)), longestWay)
}

// ask asks the sender for a key frame, not too often.
func (r *receiver) ask(now time.Time) {
	if now.Sub(r.pli) < r.patience() {
		return
	}
	ssrc := uint32(r.track.SSRC())
	if ssrc == 0 { // no packet has come
		return
	}
	r.pli, r.way = now, r.c.roundTrip()
	r.asked++
	if err := r.c.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
		r.c.log.Debug("asking for a key frame", "err", err)
	}
}

// repeat asks the sender for packets that are missing.
func (r *receiver) repeat(missing []uint16) {
	if len(missing) == 0 {
		return
	}
	nack := &rtcp.TransportLayerNack{MediaSSRC: uint32(r.track.SSRC()), Nacks: rtcp.NackPairsFromSequenceNumbers(missing)}
	if err := r.c.pc.WriteRTCP([]rtcp.Packet{nack}); err != nil {
		r.c.log.Debug("asking for packets", "err", err)
	}
}

// maxJitter bounds what is told of waiting for a frame.
const maxJitter = time.Hour

// write hands a frame to the session.
func (r *receiver) write(f frame, now time.Time) error {
	r.count(f)
	if len(f.rotation) > 0 {
		r.rotation = int(f.rotation[0]&3) * 90
	}
	u := media.Unit{
		Codec: r.frames.codec.name(), PTS: time.Duration(r.ticks) * time.Second / 90000, Key: f.key, Rotation: r.rotation, Lost: f.lost,
		Stamp: media.Stamp{RTP: f.ts, HasRTP: true, Jitter: uint32(min(now.Sub(f.first), maxJitter).Microseconds())}, Data: f.data,
	}
	u.Stamp.Client, u.Stamp.HasClient = r.captureTime(f)
	err := r.c.attached.Feeder.WriteUnit(&u)
	if err == nil {
		return nil
	}
	switch e := wire.AsError(err); e.Code {
	case wire.TooLarge:
		r.c.attached.Feeder.Fail(e) // coming back would not help
	case wire.BadMessage, wire.Conflict, wire.Replaced: // it has ended, and whoever owns the connection knows
	default:
		r.c.log.Warn("live media is not taken", "err", err)
		r.c.fail(e)
	}
	return err
}

// maxBack is how far the RTP clock may go back, in its ticks: B-frames do, by little.
const maxBack = 5 * 90000

// count goes on with the RTP clock. That of another track begins anywhere, and so may one
// that was set back: to the frame behind such a jump our own counts.
func (r *receiver) count(f frame) {
	switch step := int64(int32(f.ts - r.last)); {
	case !r.begun:
	case r.moved || step < -maxBack:
		r.ticks += max(1, int64(90000*f.first.Sub(r.came).Seconds()))
		r.known = false
	default:
		r.ticks += step
	}
	r.begun, r.moved, r.last, r.came = true, false, f.ts, f.first
}

// captureTime is when the sender captured a frame, by its own clock. Senders tell it
// now and then, and the RTP clock goes on from there.
func (r *receiver) captureTime(f frame) (ms float64, ok bool) {
	if len(f.capture) >= 8 {
		const since1900 = 2_208_988_800
		ntp := binary.BigEndian.Uint64(f.capture)
		r.capture = (float64(ntp>>32)-since1900)*1000 + float64(ntp&0xffffffff)*1000/(1<<32)
		r.captured, r.known = f.ts, true
	}
	if !r.known {
		return 0, false
	}
	return r.capture + float64(int32(f.ts-r.captured))/90, true
}

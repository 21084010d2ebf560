package rtc

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"detections/session"
	"detections/session/wire"
)

// conn is one WebRTC connection.
type conn struct {
	// Static once negotiated.
	s         *Server
	id        string // the secret
	principal string
	may       func() error // nil: it always may
	log       *slog.Logger
	pc        *webrtc.PeerConnection
	attached  *session.Attachment
	fresh     bool // the session began with it

	track    chan *webrtc.TrackRemote // receives the track that is taken, the newest
	tracks   atomic.Int32             // since ICE began
	channel  chan *teller             // receives the channel that is taken next
	channels atomic.Int32             // so far
	heard    atomic.Bool              // media of a codec that was agreed on has come
	state    chan webrtc.PeerConnectionState
	deleted  chan struct{}    // closed by Delete
	failing  chan *wire.Error // receives why the media is not taken any more
	failure  *wire.Error      // the same; set before failed is closed
	failed   chan struct{}
	gone     chan struct{} // closed when the connection is to end
	ended    chan struct{} // closed when the data channel has told all there is
	done     chan struct{} // closed when it has ended
	work     sync.WaitGroup
	results  resultsFilter

	follower follower // owned by tell

	// Guarded by mu, once it is found by others.
	mu         sync.Mutex
	offer      *offer
	etag       string
	restarts   int
	candidates int // of the client, so far
}

// gathering bounds how long own addresses are looked for.
const gathering = 2 * time.Second

// negotiate makes the answer to the offer.
func (c *conn) negotiate() (string, error) {
	api, err := c.s.api(c.offer)
	if err != nil {
		return "", wire.Errorf(wire.BadMessage, "the SDP offer is not usable: %.200s", err)
	}
	if c.pc, err = api.NewPeerConnection(webrtc.Configuration{}); err != nil {
		return "", fmt.Errorf("new peer connection: %w", err)
	}
	c.pc.OnConnectionStateChange(func(st webrtc.PeerConnectionState) {
		select {
		case c.state <- st:
		default: // nobody listens any more
		}
	})
	c.pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { c.turnTo(t) })
	c.pc.OnDataChannel(c.open)
	answer, err := c.answer(c.offer)
	if err != nil {
		_ = c.pc.GracefulClose()
		return "", wire.Errorf(wire.BadMessage, "the SDP offer is not usable: %.200s", err)
	}
	c.etag = etagOf(answer, c.restarts)
	return answer, nil
}

// answer takes an offer and answers it, with all own candidates.
func (c *conn) answer(o *offer) (string, error) {
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: o.text}); err != nil {
		return "", err
	}
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(answer); err != nil {
		return "", err
	}
	select {
	case <-gathered:
	case <-time.After(gathering):
	}
	text := c.pc.LocalDescription().SDP
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		return "", err
	}
	if bundle, ok := d.Attribute("group"); ok && o.alone {
		text = strings.Replace(text, "a=group:"+bundle+"\r\n", "", 1)
	}
	return bestFirst(text), nil
}

// etagOf stands for an ICE session, by what an answer says.
func etagOf(answer string, restarts int) string {
	var d sdp.SessionDescription
	_ = d.UnmarshalString(answer) // it was made here
	return fmt.Sprintf("%q", ufragOf(&d)+"-"+fmt.Sprint(restarts))
}

func ufragOf(d *sdp.SessionDescription) string {
	for _, m := range d.MediaDescriptions {
		if u, ok := m.Attribute("ice-ufrag"); ok {
			return u
		}
	}
	u, _ := d.Attribute("ice-ufrag")
	return u
}

// maxChannels bounds the data channels that a client can open on a connection: each takes
// 64 KiB, and something of it is kept until the connection ends.
const maxChannels = 16

// open takes a data channel. It is heard from the beginning: what a client says as soon as
// it is open would be lost.
func (c *conn) open(d *webrtc.DataChannel) {
	if c.channels.Add(1) > maxChannels {
		c.fail(wire.Errorf(wire.Quota, "more than %d data channels on one connection; open another", maxChannels))
		_ = d.Close()
		return
	}
	if d.Label() != wire.Subprotocol {
		_ = d.Close()
		return
	}
	t := newTeller(c, d)
	d.OnOpen(func() {
		select {
		case c.channel <- t:
		default:
			_ = d.Close()
		}
	})
}

// maxTracks bounds the tracks that a client can begin between two restarts of ICE: of
// each something is kept until the connection ends.
const maxTracks = 16

// turnTo lets the receiver take another track. Sound is declined, but may come.
func (c *conn) turnTo(t *webrtc.TrackRemote) {
	if c.tracks.Add(1) > maxTracks {
		c.fail(wire.Errorf(wire.Quota, "more than %d tracks on one connection; open another", maxTracks))
		return
	}
	if t.Kind() != webrtc.RTPCodecTypeVideo {
		return
	}
	for {
		select {
		case c.track <- t:
			return
		default:
		}
		select {
		case <-c.track: // an older one
		default:
		}
	}
}

// fail has the client told why its connection ends. The session goes on: it can come back.
func (c *conn) fail(e *wire.Error) {
	select {
	case c.failing <- e:
	default: // it has been told of another reason
	}
}

const (
	// lastWords is how long a client may take to read how its session ended.
	lastWords = 2 * time.Second
	// lastFrames is how long what has come may take to be inferred after a DELETE, for the
	// client to be told.
	lastFrames = 10 * time.Second
)

// goodbye is how long a client may take to be asked to come back when the hub ends.
const goodbye = 300 * time.Millisecond

// live owns the connection until it has ended.
func (c *conn) live() {
	defer close(c.done)
	defer c.s.ended()
	c.work.Go(c.receive)
	c.work.Go(c.tell)
	why := c.wait()
	c.s.forget(c)
	close(c.gone)
	if err := c.pc.GracefulClose(); err != nil {
		c.log.Debug("close", "err", err)
	}
	c.work.Wait()
	if why != nil && c.fresh && !c.heard.Load() {
		c.attached.Feeder.Fail(why)
	}
	c.letGo()
}

// letGo leaves the session as it is: another connection can come back to it.
func (c *conn) letGo() {
	c.attached.Reader.Close()
	c.attached.Feeder.Detach()
}

// wait waits until the connection has to end. The error is why it never began.
func (c *conn) wait() *wire.Error {
	handshake := time.NewTimer(c.s.cfg.Handshake)
	defer handshake.Stop()
	deleted, over, quit, failing := c.deleted, c.attached.Session.Done(), c.s.quit, c.failing
	var words, silent <-chan time.Time
	for {
		select {
		case st := <-c.state:
			switch st {
			case webrtc.PeerConnectionStateConnected:
				if handshake.Stop() {
					silent = time.After(c.s.cfg.First)
				}
			case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
				if c.failure != nil {
					return nil // it has read why, and may come back
				}
				return wire.Errorf(wire.UploadIncomplete, "the WebRTC connection failed before any media came")
			}
		case <-handshake.C:
			return wire.Errorf(wire.UploadIncomplete, "ICE and DTLS did not finish within %v; is the hub's media port reachable, over UDP or TCP?", c.s.cfg.Handshake)
		case <-silent:
			c.endIfEmpty()
		case c.failure = <-failing:
			failing = nil
			close(c.failed) // the channel may open only now: it comes after the first media
			words = time.After(lastWords)
		case <-deleted:
			deleted = nil
			c.attached.Feeder.EOF()
			words = time.After(lastFrames)
		case <-over:
			over = nil
			words = time.After(lastWords)
		case <-c.ended:
			return nil
		case <-c.attached.Feeder.Replaced():
			return nil
		case <-words:
			return nil
		case <-quit: // the client is asked to come back, if it listens
			quit = nil
			words = time.After(goodbye)
		}
	}
}

// endIfEmpty ends a session of which no media has ever come: what it sends, if anything,
// is of no use. A camera that pauses sends nothing either, for as long as it likes, and so
// may one that comes back. A picture need not have come: key frames may be far apart.
func (c *conn) endIfEmpty() {
	if !c.heard.Load() && c.attached.Session.Status().Received == 0 {
		c.attached.Feeder.Fail(wire.Errorf(wire.UploadIncomplete, "no video came within %v of connecting; does the track send, in a codec of the answer?", c.s.cfg.First))
	}
}

// resultsFilter is which results this connection wants.
type resultsFilter struct {
	mu       sync.Mutex
	nonempty bool
}

func (f *resultsFilter) set(r wire.Results) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r != "" {
		f.nonempty = r == wire.NonEmpty
	}
}

func (f *resultsFilter) wants(e wire.Event) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !e.Empty || !f.nonempty
}

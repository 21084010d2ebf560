package rtc

import (
	"errors"
	"io"
	"time"

	"github.com/pion/webrtc/v4"

	"detections/session/wire"
)

const (
	// buffered is how many bytes of a reliable channel may wait for the client.
	buffered = 256 << 10
	// underway is the same for a channel of the newest. What was sent counts until it is
	// acknowledged, which takes a client up to 200 ms.
	underway = 16 << 10
	// maxMessage is what browsers take as one message of a data channel, in bytes.
	maxMessage = 256 << 10
	// progressEvery is how often progress is told, if there is any.
	progressEvery = time.Second
	replyBuffer   = 16
)

// teller writes a data channel: run, called by tell, is all that writes. The library calls hear.
type teller struct {
	c       *conn
	d       *webrtc.DataChannel
	fresh   bool          // the client wants what is newest, not everything
	low     chan struct{} // receives when less waits for the client
	replies chan []byte
	closed  chan struct{} // closed when the client has closed it
	state   wire.StateName
	offset  uint64
}

// errGone ends a channel that makes no progress, or whose connection ends.
var errGone = errors.New("the data channel is gone")

// tell sends the session's events on the data channel that the client opens: one
// after the other, should it close one and open another.
func (c *conn) tell() {
	c.follower = follower{reader: c.attached.Reader, wants: c.results.wants, offset: c.attached.Started.Offset}
	for {
		select {
		case t := <-c.channel:
			err := t.run()
			_ = t.d.Close()
			if err == nil {
				close(c.ended)
				return
			}
			c.log.Debug("data channel", "err", err)
		case <-c.gone:
			return
		}
	}
}

func newTeller(c *conn, d *webrtc.DataChannel) *teller {
	t := &teller{
		c: c, d: d, fresh: !d.Ordered() || d.MaxRetransmits() != nil || d.MaxPacketLifeTime() != nil,
		low: make(chan struct{}, 1), replies: make(chan []byte, replyBuffer), closed: make(chan struct{}),
	}
	d.SetBufferedAmountLowThreshold(buffered / 4)
	if t.fresh {
		d.SetBufferedAmountLowThreshold(underway / 2)
	}
	d.OnBufferedAmountLow(func() {
		select {
		case t.low <- struct{}{}:
		default:
		}
	})
	d.OnClose(func() { close(t.closed) })
	d.OnMessage(t.hear)
	return t
}

func (t *teller) run() error {
	s, over := t.c.attached.Session, t.c.attached.Session.Done()
	started := t.c.attached.Started
	started.Offset = t.c.follower.offset
	if err := t.send(wire.Encode(started)); err != nil {
		return err
	}
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for {
		changed := s.Changed() // before looking, so that nothing is missed
		if err := t.status(); err != nil {
			return err
		}
		n, more, err := t.events()
		switch {
		case errors.Is(err, io.EOF):
			return t.flush(0)
		case err != nil:
			return err
		case n > 0:
			continue
		case over == nil && s.Suspended():
			return errors.Join(t.send(wire.NewGoAway()), t.flush(0))
		case over == nil:
			return errors.New("the session ended without an end event")
		}
		select {
		case <-more:
		case <-changed:
		case <-over:
			over = nil // look once more
		case <-progress.C:
			err = t.progress()
		case text := <-t.replies:
			err = t.send(text)
		case <-t.c.failed:
			return errors.Join(t.send(encodeError("", t.c.failure, true)), t.flush(0))
		case <-t.closed:
			return errGone
		case <-t.c.gone:
			return errGone
		}
		if err != nil {
			return err
		}
	}
}

// events sends what is new on the timeline. Of the results that have gathered while
// the client could not be sent anything, a channel of the newest gets only the last.
func (t *teller) events() (n int, more <-chan struct{}, err error) {
	next := t.c.follower.each
	if t.fresh {
		next = t.c.follower.freshest
	}
	return next(func(e wire.Event) error { return t.send(e.Message) })
}

func (t *teller) status() error {
	st := t.c.attached.Session.Status()
	if st.State == t.state || st.State == wire.Ended {
		return nil
	}
	t.state = st.State
	return t.send(wire.Encode(wire.State{Type: wire.TypeState, State: st.State}))
}

func (t *teller) progress() error {
	st := t.c.attached.Session.Status()
	if st.Offset == t.offset {
		return nil
	}
	t.offset = st.Offset
	return t.send(wire.Encode(st.Progress()))
}

// send sends a message once the client has taken most of those before it.
func (t *teller) send(text []byte) error {
	if len(text) > maxMessage {
		e := wire.Errorf(wire.TooLarge, "an event has %d bytes, more than a data channel takes; read it by GET /v1/sessions/{id}/results", len(text))
		text = encodeError("", e, false)
	}
	limit := uint64(buffered)
	if t.fresh {
		limit = underway
	}
	if err := t.flush(limit); err != nil {
		return err
	}
	return t.d.SendText(string(text))
}

// flush waits until at most so many bytes wait for the client.
func (t *teller) flush(limit uint64) error {
	stuck := time.NewTimer(t.c.s.cfg.Write)
	defer stuck.Stop()
	for t.d.BufferedAmount() > limit {
		select {
		case <-t.low:
		case <-time.After(20 * time.Millisecond): // the threshold may be another
		case <-stuck.C:
			return errGone
		case <-t.closed:
			return errGone
		case <-t.c.gone:
			return errGone
		}
	}
	return nil
}

// hear carries out what a client says. It is called by the library, one by one for each channel.
func (t *teller) hear(m webrtc.DataChannelMessage) {
	if len(m.Data) > wire.MaxControlSize {
		t.deny("", wire.Errorf(wire.TooLarge, "a control message has at most %d bytes", wire.MaxControlSize))
		return
	}
	if !m.IsString {
		t.deny("", wire.Errorf(wire.BadMessage, "media bytes on the data channel: the media of this session comes over the video track"))
		return
	}
	said, err := wire.ParseClient(m.Data)
	id := ""
	if c, ok := said.(*wire.Configure); ok && len(c.ID) <= wire.MaxKey {
		id = c.ID
	}
	if err != nil {
		t.deny(id, wire.AsError(err))
		return
	}
	if p, ok := said.(*wire.Ping); ok {
		t.reply(wire.Encode(wire.Pong{Type: wire.TypePong, T: p.T}))
		return
	}
	if may := t.c.may; may != nil && may() != nil {
		t.deny(id, wire.AsError(may()))
		return
	}
	switch said := said.(type) {
	case wire.EOF:
		t.c.attached.Feeder.EOF()
	case wire.Cancel:
		t.c.attached.Session.Cancel()
	case *wire.Configure:
		t.c.results.set(said.Results)
		if err := t.c.attached.Session.Configure(said); err != nil {
			t.deny(id, wire.AsError(err))
		}
	default:
		t.deny("", wire.Errorf(wire.BadMessage, "this connection has a session already; open another connection for another one"))
	}
}

func (t *teller) deny(id string, e *wire.Error) { t.reply(encodeError(id, e, false)) }

// reply hands a message to the writer. A client that asks faster than it reads gets no
// answer to some of it.
func (t *teller) reply(text []byte) {
	select {
	case t.replies <- text:
	default:
	}
}

func encodeError(id string, e *wire.Error, fatal bool) []byte {
	return wire.Encode(wire.ErrorMessage{Type: wire.TypeError, ID: id, Code: e.Code, Message: e.Message, Temporary: e.Code.Info().Temporary, Fatal: fatal})
}

package ws

import (
	"io"
	"time"

	"detections/media"
	"detections/session/wire"
)

// picture is what the reader knows of the pictures of a live session.
type picture struct {
	next  *wire.NextPicture // what was said of the next one; nil: nothing
	begun time.Time         // when the first one came over this connection
}

// announce keeps what is said of the next picture.
func (c *conn) announce(m *wire.NextPicture) error {
	if !c.attached.Session.TakesPictures() {
		return c.complain(wire.Errorf(wire.BadMessage, "picture: this session's media is a stream of bytes; start it with mode live and media.container jpeg to send pictures one by one"))
	}
	c.picture.next = m
	return nil
}

// takePicture takes a binary message as one picture.
func (c *conn) takePicture(r io.Reader) error {
	b, err := io.ReadAll(r) // the socket has a limit
	if err != nil {
		return err
	}
	now := time.Now()
	c.heard.Store(int64(now.Sub(c.begun)))
	if err := c.mayFeed(len(b) + media.UnitHeader); err != nil || c.attached.Feeder == nil {
		return err
	}
	p := &c.picture
	if p.begun.IsZero() {
		p.begun = now
	}
	u := media.Unit{Codec: "mjpeg", PTS: now.Sub(p.begun), Key: true, Data: b}
	if m := p.next; m != nil {
		if m.ClientTS != nil {
			u.Stamp.Client, u.Stamp.HasClient = *m.ClientTS, true
		}
		if m.Seq != nil {
			u.Stamp.Seq, u.Stamp.HasSeq = *m.Seq, true
		}
		p.next = nil
	}
	return c.fed(c.attached.Feeder.WriteUnit(&u))
}

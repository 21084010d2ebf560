package worker

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"detections/media"
)

// message acts on one message. Most are an output.
func (d *decoder) message(b []byte) (media.Output, error) {
	if len(b) < 2 || len(b) > maxMessage || b[0] != protocol {
		return media.Output{}, broken(errMessage)
	}
	var o media.Output
	var err error
	switch b[1] {
	case msgFrame:
		o.Frame, err = d.frame(b)
	case msgRule:
		o.Rule, err = d.rule(b)
	case msgNote:
		o, err = d.note(b[2:])
	case msgEnd:
		return o, d.endMessage(b[2:])
	case msgHello:
		d.hello = true
	case msgLog:
		d.line(string(b[2:]))
	default:
		err = errMessage
	}
	if err != nil {
		err = broken(err)
	}
	return o, err
}

func broken(err error) error {
	return &media.Error{Kind: media.ErrDecode, Message: "the decoder process broke its protocol: " + err.Error()}
}

// frame checks a frame message against everything that is known here.
func (d *decoder) frame(b []byte) (*media.Frame, error) {
	m, err := parseFrame(b)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	ready := d.began.Add(time.Duration(m.ready - d.mono))
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.err != nil:
		return nil, d.err
	case m.slot >= len(d.frames) || d.held&(1<<m.slot) != 0:
		return nil, fmt.Errorf("frame in slot %d, which it does not own", m.slot)
	case !saneSize(m.width, m.height):
		return nil, fmt.Errorf("frame of %d×%d pixels", m.width, m.height)
	case m.aspect != 0 && !(m.aspect >= 1.0/media.MaxAspect && m.aspect <= media.MaxAspect):
		return nil, fmt.Errorf("frame with pixels of aspect %v", m.aspect)
	case m.at.Index <= d.index || m.at.Index >= m.at.Stats.Decoded:
		return nil, fmt.Errorf("frame %d after %d, of %d", m.at.Index, d.index, m.at.Stats.Decoded)
	case !saneTime(m.at.PTS) || !saneTime(m.at.KeyPTS) || !saneTime(m.at.Start):
		return nil, fmt.Errorf("frame at %v", m.at.PTS)
	case !follows(&m.at, &d.at):
		return nil, fmt.Errorf("frame with checkpoint %+v after %+v", m.at, d.at)
	case m.input < 0 || m.input > d.size:
		return nil, fmt.Errorf("frame of %d bytes of input, of %d", m.input, d.size)
	case m.decode < 0 || m.decode > now.Sub(d.began):
		return nil, fmt.Errorf("frame took %v", m.decode)
	}
	if err := d.count(m.at.Stats, 1); err != nil {
		return nil, err
	}
	d.index, d.at = m.at.Index, m.at
	d.held |= 1 << m.slot
	d.tellReleased()
	if ready.After(now) || ready.Before(d.began) {
		ready = now
	}
	f := d.frames[m.slot]
	f.FrameInfo = media.FrameInfo{
		Index: m.at.Index, PTS: m.at.PTS, Width: m.width, Height: m.height, Aspect: m.aspect,
		Key: m.key, KeyPTS: m.at.KeyPTS, Input: m.input, Decode: m.decode, CPU: d.cpu.used(), Ready: ready, Stamp: m.stamp, Checkpoint: m.at,
	}
	for i, v := range d.views {
		f.Views[i].Geometry = v.PlaceShown(m.width, m.height, m.aspect)
	}
	d.ring.hold()
	f.Hold()
	return f, nil
}

// Bounds of what a process can claim of a picture.
const (
	maxSide   = 1 << 16
	maxPixels = 1 << 28
	maxTime   = 1 << 61 // ns
)

func saneSize(w, h int) bool {
	return w > 0 && h > 0 && w <= maxSide && h <= maxSide && w*h <= maxPixels
}

func saneTime(t time.Duration) bool { return t > -maxTime && t < maxTime }

// follows says whether a checkpoint can be the next one: what it counts has not
// shrunk, and it leads to no place that does not exist.
func follows(c, last *media.Checkpoint) bool {
	return c.Key >= max(1, last.Key) && c.Packet >= 1 && c.Sent >= max(c.Key, c.Packet, last.Sent) &&
		c.Delay >= 0 && c.Delay <= maxDelay && c.Nth >= 0 && c.Pictures >= last.Pictures &&
		c.Early >= last.Early && c.Early <= c.Pictures && c.Since >= 0 && c.Since <= c.Sent &&
		c.Rate >= 0 && c.Rate <= media.MaxSampleFPS
}

// maxDelay is more pictures than any codec holds back.
const maxDelay = 64

// count takes over counters that have only grown, and by picked frames. d.mu is held.
func (d *decoder) count(st media.DecodeStats, picked int64) error {
	old := d.stats
	if st.Picked != old.Picked+picked || st.Decoded < max(old.Decoded, st.Picked) ||
		st.Undecoded.Corrupt < old.Undecoded.Corrupt || st.Undecoded.NoKeyframe < old.Undecoded.NoKeyframe ||
		st.Undecoded.Lost < old.Undecoded.Lost || st.Undecoded.Late < old.Undecoded.Late ||
		st.Concealed < old.Concealed || st.Concealed > st.Decoded {
		return fmt.Errorf("counters %+v after %+v", st, old)
	}
	d.stats = st
	return nil
}

func (d *decoder) rule(b []byte) (*media.RuleChange, error) {
	r, st, err := parseRule(b)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ids)-len(d.rules) == 0 || d.ids[0] != r.ID || r.From <= d.index || r.From > st.Decoded {
		return nil, fmt.Errorf("rule %d from frame %d", r.ID, r.From)
	}
	d.ids = d.ids[1:]
	if len(d.rules) > 0 {
		d.tell()
	}
	return &r, d.count(st, 0)
}

func (d *decoder) note(b []byte) (media.Output, error) {
	var n note
	if err := json.Unmarshal(b, &n); err != nil {
		return media.Output{}, err
	}
	o := media.Output{Stream: n.Stream}
	if s := n.Stream; s != nil {
		if !saneSize(s.Width, s.Height) || s.Duration < 0 || !saneTime(s.Duration) || s.FrameRate < 0 ||
			s.Rotation%90 != 0 || s.Rotation < 0 || s.Rotation > 270 {
			return o, fmt.Errorf("stream of %d×%d pixels", s.Width, s.Height)
		}
		s.Container, s.Codec = clean(s.Container, 32), clean(s.Codec, 32)
	} else if n.Waiting == media.WaitingForIndex {
		o.Waiting = n.Waiting
	} else {
		return o, errMessage
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return o, d.count(n.Stats, 0)
}

// endMessage is how the job ended: io.EOF, or an error of the process.
func (d *decoder) endMessage(b []byte) error {
	var e end
	if err := json.Unmarshal(b, &e); err != nil {
		return broken(err)
	}
	d.mu.Lock()
	err := d.count(e.Stats, 0)
	d.mu.Unlock()
	switch {
	case err != nil:
		return broken(err)
	case e.Kind == "":
		return io.EOF
	case kinds[e.Kind] == nil:
		return broken(errMessage)
	}
	return &media.Error{Kind: kinds[e.Kind], Message: clean(e.Message, maxText)}
}

// maxLines bounds what one job can write to the log.
const maxLines = 100

func (d *decoder) line(s string) {
	if d.lines++; d.lines <= maxLines {
		d.log.Debug("decoder", "pid", d.pid, "line", clean(s, maxText))
	}
}

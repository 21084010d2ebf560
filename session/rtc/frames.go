package rtc

import (
	"time"

	"github.com/pion/rtp"
)

// Bounds of what waits to be put into order.
const (
	ringSize = 2048 // packets
	// maxFrame bounds an access unit, in bytes: media.MaxUnit is larger.
	maxFrame = 8 << 20
)

// frame is an access unit that came whole.
type frame struct {
	ts       uint32 // RTP time stamp
	key      bool
	data     []byte
	lost     int64     // frames before it that did not come whole, or refer to such
	first    time.Time // when its first packet came
	capture  []byte    // header extensions of it, nil: none
	rotation []byte
}

// frames puts packets into order and frames together. A packet that is missing is
// waited for, because it was asked for again, but not longer than a bound: then its
// frame is lost, and with it everything up to the next key frame. Owned by one goroutine.
type frames struct {
	codec codec
	wait  time.Duration // the bound
	// ids of the header extensions, 0: not offered
	captureID, rotationID uint8

	ring   [ringSize]*rtp.Packet
	at     [ringSize]time.Time
	begun  bool
	next   uint16 // sequence number that is due
	newest uint16
	stored int
	asks   [ringSize]ask
	again  time.Time // when there is something to ask for again; zero: nothing
	gap    time.Time // since when a later packet is there and the next is not; zero: it is not so

	open   bool // cur is being put together
	cur    frame
	size   int  // bytes of its payloads: codecs may hold back some of them
	skip   bool // the frame with skipTS is torn
	skipTS uint32
	broken bool // nothing can be decoded before a key frame

	usual    int // bytes of a frame
	out      []frame
	told     bool          // a frame came out
	lastTS   uint32        // of the last frame that came out
	step     uint32        // between the last two that came out one after the other
	lossy    bool          // something was lost since then
	dropped  int64         // frames that were seen since then, and are of no use
	rejected func(error)   // is told of a payload that is no such codec
	gone     int64         // packets that were given up since then
	givenUp  int64         // packets
	late     int64         // packets that came after they were given up, or twice
	slowest  time.Duration // a missing packet that came was waited for
}

func newFrames(c codec, wait time.Duration) *frames {
	return &frames{codec: c, wait: wait, broken: true, rejected: func(error) {}}
}

// needsKey says that nothing can be decoded without a key frame.
func (f *frames) needsKey() bool { return f.broken }

// fearsLoss says that a packet was asked for so often that it will hardly come. A key frame
// that is asked for now is there when the packet is given up.
func (f *frames) fearsLoss(now time.Time) bool {
	return !f.gap.IsZero() && now.Sub(f.gap) >= fear
}

// fear is when a packet was asked for three times; see nextAsk.
const fear = firstAsk + nextAsk + 2*nextAsk

// due is when pop and missing are to be called although no packet came; zero: they need
// not be.
func (f *frames) due() time.Time {
	if f.gap.IsZero() {
		return time.Time{}
	}
	if at := f.gap.Add(f.wait); f.again.IsZero() || at.Before(f.again) {
		return at
	}
	return f.again
}

// ask is how often a missing packet was asked for, and when it is to be asked for next.
type ask struct {
	n    uint8
	next time.Time
}

// When a missing packet is asked for: a little later, because it may only have been
// overtaken, and then after double the time each time, because nobody knows how far
// the sender is.
const (
	firstAsk = 5 * time.Millisecond
	nextAsk  = 30 * time.Millisecond
	maxAsks  = 4
)

// missing are the packets to be asked for now.
func (f *frames) missing(now time.Time) (all []uint16) {
	f.again = time.Time{}
	if f.stored == 0 {
		return nil
	}
	for seq := f.next; seq != f.newest; seq++ {
		i := seq % ringSize
		a := &f.asks[i]
		if f.ring[i] != nil || a.n > maxAsks {
			continue
		}
		switch {
		case a.n == 0:
			a.n, a.next = 1, now.Add(firstAsk)
		case !now.Before(a.next):
			a.next = now.Add(nextAsk << (a.n - 1))
			a.n++
			all = append(all, seq)
		}
		if f.again.IsZero() || a.next.Before(f.again) {
			f.again = a.next
		}
	}
	return all
}

// push takes a packet.
func (f *frames) push(p *rtp.Packet, now time.Time) {
	if !f.begun {
		f.begun, f.next, f.newest = true, p.SequenceNumber, p.SequenceNumber
	}
	switch ahead := p.SequenceNumber - f.next; {
	case ahead >= 1<<15:
		f.late++
		return
	case ahead >= ringSize:
		f.restart(p.SequenceNumber)
	}
	i := p.SequenceNumber % ringSize
	if f.ring[i] != nil {
		f.late++
		return
	}
	f.ring[i], f.at[i], f.asks[i] = p, now, ask{}
	f.stored++
	if p.SequenceNumber-f.newest < 1<<15 {
		f.newest = p.SequenceNumber
	}
}

// restart goes on at a packet that is further ahead than can be waited for.
func (f *frames) restart(seq uint16) {
	clear(f.ring[:])
	clear(f.asks[:])
	f.giveUp(seq - f.next)
	f.stored, f.next, f.newest, f.gap = 0, seq, seq, time.Time{}
	f.lose()
}

// pop returns the next frame, if there is one.
func (f *frames) pop(now time.Time) (frame, bool) {
	for len(f.out) == 0 {
		i := f.next % ringSize
		p := f.ring[i]
		switch {
		case p != nil:
			if !f.gap.IsZero() {
				f.slowest = max(f.slowest, now.Sub(f.gap))
				f.gap = time.Time{}
			}
			f.ring[i] = nil
			f.stored--
			f.next++
			f.add(p, f.at[i])
		case f.stored == 0:
			return frame{}, false
		case f.gap.IsZero():
			f.gap = f.at[f.stands()%ringSize]
		case now.Sub(f.gap) < f.wait:
			return frame{}, false
		default:
			to := f.stands()
			f.giveUp(to - f.next)
			for ; f.next != to; f.next++ {
				f.asks[f.next%ringSize] = ask{}
			}
			f.gap = time.Time{}
			f.lose()
		}
	}
	fr := f.out[0]
	f.out = f.out[1:]
	return fr, true
}

// stands is the next packet that is there, behind a gap.
func (f *frames) stands() uint16 {
	seq := f.next
	for f.ring[seq%ringSize] == nil {
		seq++
	}
	return seq
}

func (f *frames) giveUp(packets uint16) {
	f.gone += int64(packets)
	f.givenUp += int64(packets)
}

// lose gives up the frame that was begun, and whatever refers to it.
func (f *frames) lose() {
	f.lossy, f.broken = true, true
	if f.open {
		f.dropped++
		f.skip, f.skipTS = true, f.cur.ts
	}
	f.open = false
	f.codec.reset()
}

// add takes the next packet in order.
func (f *frames) add(p *rtp.Packet, at time.Time) {
	if len(p.Payload) == 0 {
		return // padding
	}
	if f.open && p.Timestamp != f.cur.ts {
		f.finish() // a sender without markers
	}
	if f.skip && p.Timestamp == f.skipTS {
		return
	}
	f.skip = false
	if !f.open {
		if f.broken && !f.codec.begins(p.Payload) {
			f.tear(p)
			return
		}
		f.open, f.cur, f.size = true, frame{ts: p.Timestamp, first: at, data: make([]byte, 0, f.usual)}, 0
	}
	f.size += len(p.Payload)
	data, err := f.codec.payload(f.cur.data, p.Payload)
	if err == nil && max(f.size, len(data)) > maxFrame {
		err = errSize
	}
	if err != nil {
		f.rejected(err)
		f.lose()
		return
	}
	f.cur.data = data
	if f.captureID != 0 && f.cur.capture == nil {
		f.cur.capture = p.GetExtension(f.captureID)
	}
	if r := f.rotation(p); r != nil {
		f.cur.rotation = r
	}
	if p.Marker {
		f.finish()
	}
}

func (f *frames) rotation(p *rtp.Packet) []byte {
	if f.rotationID == 0 {
		return nil
	}
	return p.GetExtension(f.rotationID)
}

// tear leaves out the rest of a frame whose beginning is not there.
func (f *frames) tear(p *rtp.Packet) {
	f.skip, f.skipTS = true, p.Timestamp
	f.dropped++
}

// finish puts the frame out, unless it refers to one that is lost.
func (f *frames) finish() {
	f.open = false
	f.codec.reset()
	cur := f.cur
	f.cur = frame{}
	if len(cur.data) == 0 {
		return
	}
	cur.data, cur.key = f.codec.complete(cur.data)
	if !cur.key {
		f.usual = len(cur.data) + len(cur.data)/4
	}
	if f.broken && !cur.key {
		f.dropped++
		return
	}
	f.broken = false
	step := cur.ts - f.lastTS
	cur.lost = f.dropped
	if f.lossy && f.told && f.step > 0 && step < 1<<31 {
		byTime := int64((step+f.step/2)/f.step) - 1
		cur.lost = max(cur.lost, min(byTime, f.dropped+f.gone)) // a lost frame had a packet: the sender may have paused
	}
	if f.told && !f.lossy && step < 1<<31 {
		f.step = step
	}
	f.told, f.lastTS, f.lossy, f.dropped, f.gone = true, cur.ts, false, 0, 0
	f.out = append(f.out, cur)
}

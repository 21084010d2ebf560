// Package sessiontest imitates decoders, with a made-up video format instead of FFmpeg.
//
// Every byte of a video is an access unit:
//
//	K  a key picture
//	p  a picture that needs one before it
//	x  a unit that cannot be decoded
//	!  the decoder process dies here; see [Config.Deaths]
//	#  the decoder stalls here
//	z  the video is over; what follows is not read
//	i  as the first byte: an index at the end is needed before decoding begins
//
// A video that begins with anything else is not supported. Picture n lies 40 ms
// after the one before it and shows what an infertest.Pool puts into frame n, so
// that infertest.Check knows its result; other views than that of the fake network are of one
// shade of grey, [Shade]. With [Config.Unit] a unit is so many bytes
// long, of which only the first counts.
package sessiontest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"detections/infer/infertest"
	"detections/media"
)

// Config is what a fake decoder is like. The zero value decodes in no time.
type Config struct {
	// Unit is the length of an access unit in bytes; 0: 1.
	Unit int64
	// Slots is how many frames can be held; 0: 4.
	Slots int
	// Cost is how long a picture takes, picked or not.
	Cost time.Duration
	// Deaths is how often a ! kills a decoder; then it is a p. 0: always.
	Deaths int64
	// Starting is called before a decoder starts: it may fail, or wait.
	Starting func(ctx context.Context) error
}

// Decoders starts fake decoders. It implements session.Decoders.
type Decoders struct {
	Config
	// Frames are those of all decoders.
	Frames infertest.Pool

	open   atomic.Int64
	deaths atomic.Int64

	mu    sync.Mutex
	views []media.View // guarded by mu: what each decoder was to deliver
}

// Views are what the decoders so far were to deliver.
func (ds *Decoders) Views() []media.View {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	return slices.Clone(ds.views)
}

// Open is how many decoders have not been closed.
func (ds *Decoders) Open() int64 { return ds.open.Load() }

// Start implements session.Decoders.
func (ds *Decoders) Start(ctx context.Context, input *os.File, job media.Job) (media.Decoder, error) {
	if err := job.Validate(); err != nil {
		return nil, &media.Error{Kind: media.ErrUnsupported, Message: err.Error()}
	}
	if ds.Starting != nil {
		if err := ds.Starting(ctx); err != nil {
			return nil, err
		}
	}
	own, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", input.Fd())) // the caller closes its file
	if err != nil {
		return nil, &media.Error{Kind: media.ErrInput, Message: err.Error()}
	}
	d := &decoder{
		owner: ds, unit: max(1, ds.Unit), slots: ds.Slots, cost: ds.Cost, input: own, job: job,
		wake: make(chan struct{}, 1), picker: job.Picker(),
	}
	if job.Resume != nil {
		d.stats = job.Resume.Stats
	}
	if d.slots == 0 {
		d.slots = 4
	}
	ds.open.Add(1)
	ds.mu.Lock()
	ds.views = append(ds.views, job.Views[0])
	ds.mu.Unlock()
	return d, nil
}

// decoder decodes in Next, in the caller's goroutine.
type decoder struct {
	// Static after construction.
	owner *Decoders
	unit  int64
	slots int
	cost  time.Duration
	input *os.File
	job   media.Job
	wake  chan struct{} // something that Next may wait for has happened

	// Owned by Next.
	begun   bool // the first byte was looked at
	told    bool // what kind of stream it is
	at      int64
	picker  media.Picker
	keyPTS  time.Duration
	key     int64 // number of the latest key unit, 0: none yet
	failed  error
	units   int64      // of media.Units that were passed
	current media.Unit // the next of them, or the last
	length  int64      // its bytes, with its header

	mu     sync.Mutex
	size   int64             // guarded by mu
	final  bool              // guarded by mu
	held   int               // guarded by mu
	rules  []rule            // guarded by mu
	stats  media.DecodeStats // guarded by mu; only Next writes it
	closed bool              // guarded by mu
}

type rule struct {
	id   uint32
	rule media.Sample
}

var errClosed = errors.New("fake decoder: closed")

// Grow implements media.Decoder.
func (d *decoder) Grow(size int64, final bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size, d.final = max(d.size, size), d.final || final
	d.signal()
}

// Configure implements media.Decoder.
func (d *decoder) Configure(id uint32, r media.Sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, rule{id, r})
	d.signal()
}

// Stats implements media.Decoder.
func (d *decoder) Stats() media.DecodeStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Close implements media.Decoder.
func (d *decoder) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	d.signal()
	d.owner.open.Add(-1)
	return d.input.Close()
}

func (d *decoder) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Next implements media.Decoder.
func (d *decoder) Next(ctx context.Context) (media.Output, error) {
	for d.failed == nil {
		if err := ctx.Err(); err != nil {
			return media.Output{}, err
		}
		decoded := d.stats.Decoded
		o, ready, err := d.step()
		if d.stats.Decoded > decoded && d.cost > 0 {
			time.Sleep(d.cost)
		}
		switch {
		case errors.Is(err, errClosed):
			return o, err
		case err != nil:
			d.failed = err
		case o.Frame != nil:
			o.Frame.Ready = time.Now()
			return o, nil
		case o != (media.Output{}):
			return o, nil
		case !ready:
			select {
			case <-d.wake:
			case <-ctx.Done():
			}
		}
	}
	return media.Output{}, d.failed
}

// step goes on by one unit. Without an output ready says that there may be more.
func (d *decoder) step() (o media.Output, ready bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return o, false, errClosed
	}
	if d.job.Picture && d.stats.Decoded > 0 {
		return o, false, io.EOF
	}
	if d.told && d.job.Resume != nil && d.key == 0 {
		d.resume(*d.job.Resume)
	}
	if whole, err := d.whole(); err != nil || !whole {
		if err == nil && d.final {
			return d.end()
		}
		return o, false, err
	}
	c, err := d.peek()
	if c == '!' && d.owner.Deaths > 0 && d.owner.deaths.Load() >= d.owner.Deaths {
		c = 'p'
	}
	switch {
	case err != nil:
		return o, false, err
	case c == 'i' && d.job.Live:
		return o, false, &media.Error{Kind: media.ErrUnsupported, Message: "a live input cannot have its index at the end"}
	case c == 'i' && !d.begun:
		d.begun = true
		return media.Output{Waiting: media.WaitingForIndex}, true, nil
	case c == 'i' && d.at == 0:
		if d.final {
			d.at = d.unit
		}
		return o, d.final, nil
	case !d.begun && c != 'K' && c != 'p' && c != 'x':
		return o, false, &media.Error{Kind: media.ErrUnsupported, Message: fmt.Sprintf("the input begins with %q and is not a video", c)}
	case !d.told:
		d.begun, d.told = true, true
		return media.Output{Stream: &media.StreamInfo{
			Container: "fake", Codec: "fake", Width: 2 * infertest.Side, Height: 2 * infertest.Side, FrameRate: 25,
		}}, true, nil
	}
	return d.decode(c)
}

// resume goes to behind the frame of a checkpoint.
func (d *decoder) resume(c media.Checkpoint) {
	d.at, d.key, d.keyPTS = c.Sent*d.unit, c.Key, c.KeyPTS
}

// peek reads the first byte of the next unit.
func (d *decoder) peek() (byte, error) {
	if d.job.Container == media.Units {
		return d.script(), nil
	}
	var b [1]byte
	if _, err := d.input.ReadAt(b[:], d.job.Base+d.at); err != nil {
		return 0, &media.Error{Kind: media.ErrInput, Message: err.Error()}
	}
	return b[0], nil
}

// decode decodes a unit. d.mu is held.
func (d *decoder) decode(c byte) (o media.Output, ready bool, err error) {
	switch {
	case c == '!':
		d.owner.deaths.Add(1)
		return o, false, &media.Error{Kind: media.ErrCrashed, Message: "the decoder process was killed; the input may be damaged"}
	case c == '#':
		return o, false, &media.Error{Kind: media.ErrStalled, Message: "the decoder made no progress"}
	case c == 'z':
		return d.end()
	case c == 'p' && d.key == 0:
		d.pass()
		d.stats.Undecoded.NoKeyframe++
		return o, true, nil
	case c != 'K' && c != 'p':
		d.pass()
		d.stats.Undecoded.Corrupt++
		return o, true, nil
	case len(d.rules) > 0 && d.stats.Decoded >= d.job.From:
		return d.change(), true, nil
	case d.held == d.slots:
		return o, false, nil // whether it is picked or not: it is simpler
	}
	d.pass()
	index := d.stats.Decoded
	d.stats.Decoded++
	pts := d.pts(index)
	if c == 'K' {
		d.key, d.keyPTS = d.packets(), pts
	}
	if index < d.job.From || !d.job.Picture && !d.picker.Pick(pts) {
		return o, true, nil
	}
	d.stats.Picked++
	return media.Output{Frame: d.frame(index, c == 'K')}, true, nil
}

// change takes up the next rule. d.mu is held.
func (d *decoder) change() media.Output {
	r := d.rules[0]
	d.rules = d.rules[1:]
	d.picker.Change(r.rule)
	return media.Output{Rule: &media.RuleChange{ID: r.id, From: d.stats.Decoded}}
}

// end is what comes after the last byte. d.mu is held.
func (d *decoder) end() (o media.Output, ready bool, err error) {
	switch {
	case d.stats.Decoded == 0:
		return o, false, &media.Error{Kind: media.ErrDecode, Message: "the input ended before its first picture"}
	case len(d.rules) > 0: // they came too late, and still come back
		return d.change(), true, nil
	}
	return o, false, io.EOF
}

// Shade is what any other view than the network's is filled with. It tells frames
// apart, and inputs that begin at another byte.
func Shade(base, index int64) byte { return byte(20 + 13*(index+base)%220) }

// frame makes the next frame. d.mu is held.
func (d *decoder) frame(index int64, key bool) *media.Frame {
	pixels := d.owner.Frames.Frame(index)
	v, own := d.job.Views[0], infertest.Model().Input.View()
	own.Fill = v.Fill // there is no border to see it in
	if v != own {
		info := pixels.FrameInfo
		pixels.Release()
		pixels = d.owner.Frames.Picture(info, v, bytes.Repeat([]byte{Shade(d.job.Base, index)}, v.Size()))
	}
	f := media.NewFrame(func() {
		pixels.Release()
		d.mu.Lock()
		d.held--
		d.mu.Unlock()
		d.signal()
	})
	f.FrameInfo, f.Views = pixels.FrameInfo, pixels.Views
	f.PTS, f.Stamp = d.pts(index), d.current.Stamp
	f.Key, f.KeyPTS, f.Input, f.Decode, f.CPU = key, d.keyPTS, d.at, d.cost, d.cost
	f.Checkpoint = media.Checkpoint{
		Index: index, PTS: f.PTS, KeyPTS: f.KeyPTS, Stats: d.stats,
		Key: d.key, Packet: d.packets(), Sent: d.packets(), Pictures: d.stats.Decoded, Start: d.picker.Start(),
	}
	f.Hold()
	d.held++
	return f
}

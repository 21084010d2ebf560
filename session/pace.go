package session

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"detections/media"
)

// Pace is what one client may use per second, in all of its sessions and pictures
// together. Nothing fails for it: files and bytes wait, live frames are dropped, and so are
// a camera's bytes, which nobody can hold up. A nil Pace, and a nil part of one, bounds
// nothing.
type Pace struct {
	Frames *rate.Limiter // that are inferred
	Bytes  *rate.Limiter // of media; its burst is at least one byte
	CPU    *rate.Limiter // microseconds of its decoders
}

// NewPace bounds frames, bytes, and seconds of the decoders' processor time, per second;
// 0: any number. What was not used is kept for a second.
func NewPace(frames, bytes, cores float64) *Pace {
	p := &Pace{}
	if frames > 0 {
		p.Frames = rate.NewLimiter(rate.Limit(frames), max(1, int(frames)))
	}
	if bytes > 0 {
		p.Bytes = rate.NewLimiter(rate.Limit(bytes), max(1, int(bytes)))
	}
	if cores > 0 {
		p.CPU = rate.NewLimiter(rate.Limit(1e6*cores), max(1, int(1e6*cores)))
	}
	return p
}

// Rested says that the client has used nothing lately: another Pace is as good as this.
func (p *Pace) Rested() bool {
	full := func(l *rate.Limiter) bool { return l == nil || l.Tokens() >= float64(l.Burst()) }
	return full(p.Frames) && full(p.Bytes) && full(p.CPU)
}

// Allow says whether one more frame may be inferred now, and counts it.
func (p *Pace) Allow() bool { return p == nil || p.Frames == nil || p.Frames.Allow() }

// wait waits until one more frame may be inferred, or the context ends.
func (p *Pace) wait(ctx context.Context) {
	if p != nil && p.Frames != nil {
		_ = p.Frames.Wait(ctx) // whoever calls looks at the context
	}
}

// rest pays for what a decoder used: it waits until the client has so much, or the
// context ends. The decoder fills its slots meanwhile, and waits too.
func (p *Pace) rest(ctx context.Context, used time.Duration) {
	if p == nil || p.CPU == nil {
		return
	}
	now := time.Now()
	d := p.CPU.ReserveN(now, min(int(used.Microseconds()), p.CPU.Burst())).DelayFrom(now)
	if d > 0 {
		sleep(ctx.Done(), now.Add(d))
	}
}

// due counts bytes and says when they may have come; zero: already.
func (p *Pace) due(bytes int) (at time.Time) {
	if p == nil || p.Bytes == nil {
		return at
	}
	for now := time.Now(); bytes > 0; {
		n := min(bytes, p.Bytes.Burst())
		bytes -= n
		if d := p.Bytes.ReserveN(now, n).DelayFrom(now); d > 0 {
			at = now.Add(d)
		}
	}
	return at
}

// inDebt says that the client has used the bytes of a whole second that is still to come.
// An upload that is read as it is due is always a little ahead, and a camera beside it gets
// something too; one over a WebSocket is ahead by its window, and comes before a camera.
func (p *Pace) inDebt() bool {
	return p != nil && p.Bytes != nil && p.Bytes.Tokens() <= -float64(p.Bytes.Burst())
}

// Reader reads no faster than the client may send.
func (p *Pace) Reader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		sleep(ctx.Done(), p.due(n))
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func sleep(done <-chan struct{}, until time.Time) {
	if until.IsZero() {
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// dues are when the bytes of an input may be acknowledged that came faster than the
// client may send. They have a lock of their own: acknowledging needs none of the input's.
type dues struct {
	mu  sync.Mutex
	all []due // guarded by mu: in order
}

// due says when bytes after first, up to mark.size, may be acknowledged.
type due struct {
	mark
	first int64
}

// dueStep is of how many bytes at a time it is remembered when they are due.
const dueStep = 64 << 10

// add remembers when the last n of size bytes are due; zero: already.
func (d *dues) add(n int, size int64, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := len(d.all) - 1
	switch {
	case at.IsZero() && last < 0:
	case last >= 0 && size-d.all[last].first < dueStep:
		d.all[last].mark = mark{size, at}
	default:
		d.all = append(d.all, due{mark{size, at}, size - int64(n)})
	}
}

// payable is how many of n bytes may be acknowledged now, and when there are more;
// zero: when more come.
func (d *dues) payable(n int64) (int64, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for now := time.Now(); len(d.all) > 0 && d.all[0].first < n; d.all = d.all[1:] {
		if next := d.all[0]; next.at.After(now) {
			return next.first, next.at
		}
	}
	return n, time.Time{}
}

// last is when everything that came is due.
func (d *dues) last() (at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := len(d.all); n > 0 {
		at = d.all[n-1].at
	}
	return at
}

// Paced writes like the Feeder, and returns when the client may send more. It is for
// doors that hold a client up by not reading; for the others, acknowledgements wait.
func (f *Feeder) Paced() io.Writer { return paced{f} }

type paced struct{ f *Feeder }

func (w paced) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err == nil {
		sleep(w.f.in.s.ctx.Done(), w.f.in.dues.last())
	}
	return n, err
}

// refused is what was left out of a camera's input. Owned by WriteUnit.
type refused struct {
	since time.Time // zero: nothing is; else all is up to a key frame
	asks  bool      // for that key frame
	lost  int64     // that units which were left out told of
}

// askAfter is how long units are refused before a key frame is asked for. Soon after the
// first of them it would be the only one that can be paid for, and its sender would make
// nothing but key frames, which are large.
const askAfter = time.Second

// refuses says whether a unit is left out, and counts it: nobody can hold up a camera over
// WebRTC, and in debt for hours its client could do nothing else. in.mu is held.
func (f *Feeder) refuses(u *media.Unit) bool {
	s, r := f.in.s, &f.refused
	if !s.TakesRTP() {
		return false // the window holds them up
	}
	inDebt, goesOn := s.cfg.Pace.inDebt(), !r.since.IsZero()
	if !inDebt && (!goesOn || u.Key) {
		*r = refused{}
		return false
	}
	now := time.Now()
	if !goesOn {
		r.since = now
	}
	r.asks = !inDebt && now.Sub(r.since) >= askAfter
	r.lost = u.Lost
	s.mu.Lock()
	s.count.refused++
	s.mu.Unlock()
	return true
}

package session

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"detections/media"
	"detections/media/spool"
	"detections/session/wire"
)

// input is the feeding side of a session: at most one feeder, the spool, and when
// which byte arrived.
type input struct {
	s     *Session
	begun chan struct{} // there may be a new segment
	ended chan struct{} // closed when nothing more comes
	dues  dues
	// complete: the media has come to its own end. Set before ended is closed.
	complete atomic.Bool
	// away is since when a feeder is waited for; nil: it is not.
	away atomic.Pointer[time.Time]

	// Guarded by mu, which is taken before Session.mu.
	mu         sync.Mutex
	feeder     *Feeder
	final      bool
	closed     bool        // the session ended; final or not, no bytes are taken
	incomplete *wire.Error // why the input ended before the media did
	linger     *time.Timer
	lingers    int // absences of a feeder so far
	pace       *time.Timer
	marks      []mark
	segments   []segment // that nobody decodes yet, in order
	current    segment   // that is decoded, or was last
	// cut: the next byte begins a segment, for this reason; none: it is the first.
	cut    bool
	reason wire.SegmentReason
}

// mark says when the input had grown to a size.
type mark struct {
	size int64
	at   time.Time
}

// maxMarks bounds the arrival times that are kept.
const maxMarks = 512

func newInput(s *Session) *input {
	return &input{s: s, begun: make(chan struct{}, 1), cut: true, ended: make(chan struct{})}
}

// Feeder is the one connection that may send a session's media.
type Feeder struct {
	in       *input
	replaced chan struct{}
	sum      string
	brake    brake
	unit     []byte // owned by WriteUnit
	refused  refused
}

// SHA256 is the hash of the bytes that had come when the feeder attached, in hex:
// one that goes on with other media notices. Empty: none, or it is not known yet.
func (f *Feeder) SHA256() string { return f.sum }

// Attach makes the caller the feeder and returns the byte from which to send. A
// former feeder is told by its Replaced. In a live session the new feeder's first
// byte begins a segment.
func (s *Session) Attach() (*Feeder, int64) {
	f, from := s.input.attach()
	s.input.grow()
	return f, from
}

func (in *input) attach() (*Feeder, int64) {
	s := in.s
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.feeder != nil {
		close(in.feeder.replaced)
	}
	in.stopTimers()
	in.interrupt()
	in.feeder = &Feeder{in: in, replaced: make(chan struct{}), sum: in.sum()}
	in.watchPace(in.feeder)
	s.notifyChange()
	return in.feeder, s.received()
}

// sum is the hash of the bytes so far. in.mu is held.
func (in *input) sum() string {
	if in.s.cfg.Spool == nil || in.s.received() == 0 {
		return ""
	}
	sum, ok := in.s.cfg.Spool.Sum()
	if !ok {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// Replaced is closed when another connection took over.
func (f *Feeder) Replaced() <-chan struct{} { return f.replaced }

// Write takes the next bytes of the media: all of them, or none with a *wire.Error.
// It takes its time if they come faster than they may.
func (f *Feeder) Write(p []byte) (int, error) {
	if f.in.s.takesUnits() {
		return 0, wire.Errorf(wire.BadMessage, "the media of this session is taken picture by picture: JPEG as WebSocket messages, or over WebRTC")
	}
	return f.write(p, nil)
}

// write takes bytes, those of a unit if one is given.
func (f *Feeder) write(p []byte, u *media.Unit) (int, error) {
	in := f.in
	err := f.hold(len(p))
	if err == nil {
		in.mu.Lock()
		err = f.take(p, u)
		in.mu.Unlock()
	}
	in.grow()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *Feeder) take(p []byte, u *media.Unit) error {
	in, size := f.in, f.in.s.received()
	switch {
	case in.feeder != f:
		return errReplaced
	case in.closed || in.incomplete != nil:
		return wire.Errorf(wire.Conflict, "the session has ended; no more bytes are taken")
	case in.final:
		return wire.Errorf(wire.BadMessage, "media bytes after the end: %d bytes came after eof and were ignored", len(p))
	case size+int64(len(p)) > in.s.cfg.MaxBytes:
		e := wire.Errorf(wire.TooLarge, "the media is larger than the limit of %d bytes", in.s.cfg.MaxBytes)
		in.end(e) // the rest will never be taken
		return e
	case len(p) == 0, u != nil && f.refuses(u):
		return nil
	}
	if in.cut && len(in.segments) == maxSegments {
		return wire.Errorf(wire.Overloaded, "%d segments wait to be decoded; reconnect later", maxSegments)
	}
	if err := in.s.cfg.Spool.Append(p); err != nil {
		return storageError(err)
	}
	in.mark(size + int64(len(p)))
	in.dues.add(len(p), size+int64(len(p)), in.s.cfg.Pace.due(len(p)))
	in.begin(size)
	return nil
}

var errReplaced = &wire.Error{Code: wire.Replaced, Message: "another connection took over as the session's feeder"}

func storageError(err error) error {
	if errors.Is(err, spool.ErrFull) {
		return wire.Errorf(wire.StorageFull, "the hub's disk is full; what was acknowledged is kept")
	}
	return err
}

// EOF says that all bytes were written.
func (f *Feeder) EOF() { f.end(nil) }

// CutOff says that the media ended too early and nobody will send the rest.
func (f *Feeder) CutOff(why string) {
	f.end(wire.Errorf(wire.UploadIncomplete, "%s after %d bytes; results so far are kept", why, f.in.s.received()))
}

// Fail says that the media will not be taken to its end, and why. Results so far are kept.
func (f *Feeder) Fail(why *wire.Error) { f.end(why) }

func (f *Feeder) end(incomplete *wire.Error) {
	f.in.mu.Lock()
	if f.in.feeder == f {
		f.in.end(incomplete)
	}
	f.in.mu.Unlock()
	f.in.grow()
}

// Detach leaves without a word: the session waits for a while for another feeder.
func (f *Feeder) Detach() { f.Leave(f.in.s.cfg.Linger) }

// Leave is Detach with less patience, for who is not likely to come back.
func (f *Feeder) Leave(patience time.Duration) {
	f.in.detach(f, min(patience, f.in.s.cfg.Linger))
	f.in.grow()
}

func (in *input) detach(f *Feeder, patience time.Duration) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.feeder != f {
		return
	}
	in.feeder = nil
	if in.final || in.closed {
		return
	}
	in.stopTimers()
	in.interrupt()
	in.waitForFeeder(patience)
	in.s.notifyChange()
}

// recall takes up the input of an earlier life, which has no feeder yet.
func (in *input) recall(complete bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.s.cfg.Spool.Size() == 0:
	case in.s.mode == wire.Live:
		in.reason = wire.Restarted
	default:
		in.begin(0)
	}
	if complete {
		in.end(nil)
		return
	}
	in.waitForFeeder(in.s.cfg.Linger)
}

// abandon ends an input to which no feeder came back. A timer that was too late to
// be stopped belongs to an earlier absence.
func (in *input) abandon(nth int, patience time.Duration) {
	in.mu.Lock()
	if in.feeder == nil && in.lingers == nth {
		in.end(wire.Errorf(wire.UploadIncomplete, "the connection was lost after %d bytes and nobody resumed within %v; results so far are kept",
			in.s.cfg.Spool.Size(), patience))
	}
	in.mu.Unlock()
	in.grow()
}

// ends says that nothing more comes. It needs no lock.
func (in *input) ends() bool {
	select {
	case <-in.ended:
		return true
	default:
		return false
	}
}

// The following are called with in.mu held.

func (in *input) waitForFeeder(patience time.Duration) {
	in.lingers++
	nth := in.lingers
	in.away.Store(new(time.Now()))
	in.linger = time.AfterFunc(patience, func() { in.abandon(nth, patience) })
}

func (in *input) end(incomplete *wire.Error) {
	if in.final || in.closed {
		return
	}
	in.final, in.incomplete = true, incomplete
	in.complete.Store(incomplete == nil)
	in.stopTimers()
	close(in.ended)
}

func (in *input) stopTimers() {
	if in.linger != nil {
		in.linger.Stop()
		in.linger = nil
		in.away.Store(nil)
	}
	if in.pace != nil {
		in.pace.Stop()
		in.pace = nil
	}
}

// mark remembers when the input grew. When there are too many marks every second
// one goes: its bytes then count as arrived a little later than they did.
func (in *input) mark(size int64) {
	if len(in.marks) == maxMarks {
		for i := range maxMarks / 2 {
			in.marks[i] = in.marks[2*i+1]
		}
		in.marks = in.marks[:maxMarks/2]
	}
	in.marks = append(in.marks, mark{size, time.Now()})
}

// arrival is when the input had grown to a size, for sizes that never fall.
func (in *input) arrival(size int64) time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	i, _ := slices.BinarySearchFunc(in.marks, size, func(m mark, size int64) int { return int(m.size - size) })
	if i == len(in.marks) {
		return time.Now()
	}
	in.marks = slices.Delete(in.marks, 0, i)
	return in.marks[0].at
}

// grow tells the decoder how much there is.
func (in *input) grow() {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.decoder != nil {
		s.decoder.Grow(in.extent())
	}
}

// close takes no more bytes. If all have come it returns their hash; the error
// says what is wrong with the input.
func (in *input) close(a *acks) (sum string, complete bool, err error) {
	in.shut()
	digest, err := in.s.cfg.Spool.Finish()
	a.stop()
	in.mu.Lock()
	defer in.mu.Unlock()
	switch want := in.s.cfg.Start.Media.SHA256; {
	case err != nil:
		return "", false, storageError(err)
	case in.incomplete != nil:
		return "", false, in.incomplete
	case !in.final:
		return "", false, nil
	case want != "" && !strings.EqualFold(want, hex.EncodeToString(digest[:])):
		return hex.EncodeToString(digest[:]), true, wire.Errorf(wire.HashMismatch,
			"media.sha256 was declared as %.16s…, but the %d bytes received have %x", want, in.s.cfg.Spool.Size(), digest)
	}
	return hex.EncodeToString(digest[:]), true, nil
}

// suspend takes no more bytes and commits those that came.
func (in *input) suspend(a *acks) error {
	in.shut()
	err := in.s.cfg.Spool.Flush()
	a.stop()
	return err
}

// shut takes no more bytes. The input is not locked while the rest is acknowledged,
// which takes long on a full disk: everybody who looks at the session would wait.
func (in *input) shut() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	in.stopTimers()
}

// acks is the goroutine that acknowledges what is durable.
type acks struct {
	quit chan struct{}
	done chan struct{}
}

// acknowledge commits the durable length whenever it has grown, and tells doors, no
// sooner than the client's limit of bytes per second allows.
func (in *input) acknowledge() *acks {
	a := &acks{make(chan struct{}), make(chan struct{})}
	go func() {
		defer close(a.done)
		later := time.NewTimer(0)
		defer later.Stop()
		durable := int64(0)
		for ended := in.ended; ; {
			select {
			case <-in.s.cfg.Spool.Changed():
				durable = in.commit()
			case <-ended:
				ended = nil
				durable = in.commit()
			case <-later.C:
			case <-a.quit:
				in.ack(in.commit())
				return
			}
			n, next := in.dues.payable(durable)
			in.ack(n)
			if !next.IsZero() {
				later.Reset(time.Until(next))
			}
		}
	}()
	return a
}

func (a *acks) stop() {
	close(a.quit)
	<-a.done
}

// commit records how many bytes are durable.
func (in *input) commit() (n int64) {
	s := in.s
	if err := s.cfg.Spool.Err(); err != nil {
		s.log.Error("upload cannot be made durable", "err", err)
		s.Abort(wire.AsError(storageError(err)))
		return 0
	}
	complete := in.complete.Load() // before looking at the bytes: then they are all there
	n = s.cfg.Spool.Synced()
	if err := s.cfg.Journal.Commit(context.Background(), n, complete && n == s.cfg.Spool.Size()); err != nil {
		s.log.Error("upload cannot be acknowledged", "err", err)
		s.Abort(wire.Errorf(wire.Internal, "the session's log cannot be written"))
		return 0
	}
	return n
}

func (in *input) ack(n int64) {
	s := in.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.acked {
		s.acked = n
		s.notify()
	}
}

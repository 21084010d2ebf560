package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"detections/session/client"
	"detections/session/wire"
)

// screen is what the user sees: bars on the terminal, lines above them.
type screen struct {
	quiet bool
	bars  *mpb.Progress // nil: no bars

	mu     sync.Mutex
	closed bool
}

// newScreen draws bars if the standard error is a terminal. Results that go to the
// same terminal are written above them.
func newScreen(quiet bool) *screen {
	s := &screen{quiet: quiet}
	if !quiet && term.IsTerminal(int(os.Stderr.Fd())) && os.Getenv("TERM") != "dumb" {
		s.bars = mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(24), mpb.WithRefreshRate(150*time.Millisecond))
	}
	return s
}

// colourful says whether colours are wanted on a file.
func colourful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// close takes the bars away.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars != nil && !s.closed {
		s.bars.Shutdown()
	}
	s.closed = true
}

// out writes results to the standard output.
func (s *screen) out(p []byte) error { return s.write(os.Stdout, p) }

func (s *screen) write(f *os.File, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars != nil && !s.closed && term.IsTerminal(int(f.Fd())) {
		if _, err := s.bars.Write(p); err == nil {
			return nil
		}
	}
	_, err := f.Write(p)
	return err
}

// note tells the user something, unless he wants quiet.
func (s *screen) note(format string, args ...any) {
	if !s.quiet {
		s.say(format, args...)
	}
}

// err tells the user what went wrong.
func (s *screen) err(format string, args ...any) {
	s.say("detections: "+format, args...)
}

func (s *screen) say(format string, args ...any) {
	_ = s.write(os.Stderr, fmt.Appendf(nil, format+"\n", args...)) // nobody else could be told
}

// bar is the progress of one input.
type bar struct {
	b *mpb.Bar // nil: nobody looks

	mu     sync.Mutex
	begun  time.Time // the first result; zero: none yet
	frames int64
	eta    time.Duration
	known  bool // how far it is
	says   string
}

// nameWidth is how much of a name is shown.
const nameWidth = 32

func (s *screen) bar(in *input) *bar {
	b := &bar{says: "connecting"}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars == nil || s.closed {
		return b
	}
	name := []rune(in.name)
	if len(name) > nameWidth {
		name = append([]rune{'…'}, name[len(name)-nameWidth+1:]...)
	}
	options := []mpb.BarOption{
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(string(name), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Any(b.text)),
	}
	if in.size > 0 {
		b.b = s.bars.New(1000, mpb.BarStyle(), options...)
	} else {
		b.b = s.bars.New(0, mpb.SpinnerStyle().PositionLeft(), options...)
	}
	return b
}

// text is what stands behind the bar.
func (b *bar) text(st decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.says != "" {
		return b.says
	}
	rate := float64(b.frames) / max(time.Since(b.begun).Seconds(), 0.1)
	text := fmt.Sprintf("%d frames, %.0f/s", b.frames, rate)
	if b.known {
		text = fmt.Sprintf("%3d %%, %s", st.Current/10, text)
	}
	if b.eta > 0 {
		text += ", " + short(b.eta) + " left"
	}
	return text
}

// say puts words in place of the progress, until there is some.
func (b *bar) say(words string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.says = words
}

// states in words.
var states = map[wire.StateName]string{
	wire.WaitingForEngine:   "the hub is loading its engine",
	wire.WaitingForIndex:    "uploading: the index of this file is at its end",
	wire.WaitingForCapacity: "the hub is busy",
	wire.WaitingForBytes:    "uploading",
}

// event takes up what an event says about progress.
func (b *bar) event(e client.Event) {
	if b.b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := e.(type) {
	case *wire.Detections:
		if b.begun.IsZero() {
			b.begun = time.Now()
		}
		b.frames++
		b.says = ""
	case *wire.State:
		if b.frames == 0 {
			b.says = states[e.State]
		}
	case *wire.Progress:
		b.eta = 0
		if e.ETA != nil {
			b.eta = time.Duration(*e.ETA)
		}
		if e.Percent != nil {
			b.known = true
			b.b.SetCurrent(min(999, int64(*e.Percent*10))) // done says when it is complete
		}
	case *client.Lost:
		b.says = fmt.Sprintf("connection lost; attempt %d in %s", e.Attempt, short(e.Wait))
	case *client.Resumed:
		b.says = "connected again"
	}
}

func (b *bar) done() {
	if b.b != nil {
		b.b.Abort(true)
	}
}

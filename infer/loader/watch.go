package loader

import (
	"context"
	"time"
)

// Phase is what a Watcher is doing.
type Phase string

// The phases.
const (
	Checking    Phase = "checking"    // asks the source; nothing has come yet
	Downloading Phase = "downloading" // a new version is coming
	Current     Phase = "current"     // the newest version was handed on
	Failed      Phase = "failed"      // the last attempt failed; State.Next says when it is tried again
)

// State is what a Watcher tells.
type State struct {
	Source   string
	Phase    Phase
	Progress Progress // while Downloading
	// Err is why the last attempt failed; nil: it did not. It stays while the next one
	// is under way.
	Err      *Error
	Failures int // attempts in a row that failed
	// Name, Version and SHA256 are of the file that was handed on last; empty: none was.
	Name, Version, SHA256 string
	Checked               time.Time // when the source last answered; zero: never
	Next                  time.Time // when it is asked again; zero: now, or never
}

// WatchConfig says what a Watcher does. Zero values take the defaults.
type WatchConfig struct {
	Source Source
	// Poll is how often the source is asked for something newer; 0: never, once it has
	// given a model.
	Poll time.Duration
	// File gets each new version. The source is not asked again before it returns. An
	// error says that the version cannot be used: it is kept as State.Err (Refused), and
	// the version is not offered again.
	File func(ctx context.Context, f File) error
	// State is told each change; it must not block. Default: nobody is told.
	State func(State)
}

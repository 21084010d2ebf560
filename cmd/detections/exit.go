package main

import "errors"

// Exit statuses beside 0.
const (
	exitFailed      = 1   // something failed
	exitUsage       = 2   // a command line that makes no sense
	exitNoHub       = 3   // the hub cannot be reached, or is none
	exitInterrupted = 130 // by Ctrl-C: 128 + SIGINT, as a shell counts
)

// exitError is a failure with a status of its own.
type exitError struct {
	status int
	error
}

func (e *exitError) Unwrap() error { return e.error }

// errSaid ends the program without another word: the user was told already.
var errSaid = errors.New("said already")

// statusOf is the exit status for an error of a command.
func statusOf(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

package media

import "os"

// Loop decodes an input from its first byte, which is Job.Base of the file, to its
// last, and returns nil then, or an *Error, or what the Host returned, and the final
// counters. It is what a decoder process runs.
type Loop func(h Host, input *os.File, job Job) (DecodeStats, error)

// Host is what a Loop runs in: it supplies bytes and memory, and takes what comes
// out. The other side of a Host is a Decoder. All methods belong to the Loop's
// goroutine, except Log.
type Host interface {
	// Await returns the input's size as soon as it is above have, or the input is
	// complete (final). Calling it also shows that the Loop is alive.
	Await(have int64) (size int64, final bool, err error)
	// Slot waits for memory for one picked frame. Its views have their pixels, with
	// some capacity to spare after them (SlotSpare); the Loop fills in the rest and
	// gives it to Put, or keeps it and uses it for a later frame.
	Slot() (*Frame, error)
	// Rule returns the next change of the sampling rule that has arrived.
	Rule() (id uint32, rule Sample, ok bool)
	// Put takes what came out, in order, with the counters as of then.
	Put(o Output, st DecodeStats) error
	// Log takes a line for the log. It may be dropped.
	Log(line string)
}

// SlotSpare is how many bytes beyond a view's pixels may be scribbled on: vector
// code stores whole registers.
const SlotSpare = 64

package infer

import "detections/media"

// Request is one frame bound to a batch. The batcher owns the frame from Take on
// and releases it as soon as its pixels are in the batch tensor.
type Request struct {
	Frame  *media.Frame
	Detect *Detect
}

// Source is a session's side of the ready list.
type Source interface {
	// Take hands over the next frame to infer: the newest of a live session, the
	// next of a file. ok is false if there is none (any more); more says that
	// another one waits already. It must not block.
	Take() (r Request, more, ok bool)
	// Done answers a taken frame, exactly once, from the runner's goroutine and in
	// any order. r is valid during the call only. It must not block.
	Done(f media.FrameInfo, r *Result)
}

package media

import (
	"sync/atomic"
	"time"
)

// FrameInfo describes a decoded picture without its pixels.
type FrameInfo struct {
	// Index counts decoded pictures from 0 in presentation order, picked or not.
	Index int64
	// PTS is the presentation time as the container gives it, from the
	// container's own zero (FFmpeg's pts_time), rounded to the nanosecond.
	PTS time.Duration
	// Width and Height are the picture's size in pixels after rotation.
	Width, Height int
	// Aspect is the width of a pixel divided by its height, after rotation, within
	// MaxAspect either way; 0 means 1. Views show pictures with square pixels.
	Aspect float32
	// Key says that the picture came from a key packet.
	Key bool
	// KeyPTS is the time of the last key packet at or before this picture: where
	// decoding can begin again.
	KeyPTS time.Duration
	// Input is how many bytes of the input the demuxer had read when the picture
	// came out. It tells when the last byte that was needed arrived.
	Input int64
	// Decode is the time spent decoding and scaling since the previous picked
	// picture, without waiting for bytes or for a free slot.
	Decode time.Duration
	// CPU is the processor time that the decoder used since the previous picked picture,
	// or about that: it works ahead. 0 if nobody measures it.
	CPU time.Duration
	// Ready is when the pixels were complete, on the hub's clock.
	Ready time.Time
	// Stamp is what the sender said of the picture, in Units.
	Stamp Stamp
	// Checkpoint lets another decoder go on after this picture.
	Checkpoint Checkpoint
}

// Frame is a picked picture with its pixels. See the package comment for who owns it.
type Frame struct {
	FrameInfo
	// Views are in the order in which they were asked for.
	Views []Picture

	release func()
	held    atomic.Bool
}

// Picture is one view of a frame: pixels and how they lie over the source.
type Picture struct {
	// Pix is packed rows, top to bottom, 3 bytes a pixel, no padding.
	Pix []byte
	Geometry
}

// NewFrame returns a frame that is not held yet; Hold gives it to an owner.
// Decoders make one per slot and use it again and again.
func NewFrame(release func()) *Frame { return &Frame{release: release} }

// Hold marks the frame as owned. It panics if somebody owns it already.
func (f *Frame) Hold() {
	if !f.held.CompareAndSwap(false, true) {
		panic("media: frame handed out twice")
	}
}

// Release gives the pixels back. It panics if the frame was released before.
func (f *Frame) Release() {
	if !f.held.CompareAndSwap(true, false) {
		panic("media: frame released twice")
	}
	f.release()
}

package av

/*
#include <errno.h>
#include "shim.h"
*/
import "C"

import (
	"io"
	"math"
	"os"
	"runtime/cgo"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"detections/media"
)

// input is the growing file as FFmpeg reads it. Owned by the loop's goroutine.
type input struct {
	host media.Host
	file io.ReaderAt // from the input's first byte on
	fd   int
	base int64 // where that byte is in the file

	seekable bool // else it can be taken back by maxBack

	pos    int64 // next byte to be read
	high   int64 // the furthest byte that was read
	size   int64
	final  bool
	waited time.Duration // in Await
	err    error         // why reading had to stop
}

// maxBack is how far a stream can be taken back, in bytes. The demuxer of program
// streams looks ahead by a few, and would lose them at the end of its buffer.
const maxBack = readBuffer + 64

func newInput(h media.Host, f *os.File, base int64) *input {
	return &input{host: h, file: io.NewSectionReader(f, base, math.MaxInt64-base), fd: int(f.Fd()), base: base}
}

// await waits until the input is larger than have, or complete.
func (in *input) await(have int64) error {
	if in.err != nil {
		return in.err
	}
	begin := time.Now()
	in.size, in.final, in.err = in.host.Await(have)
	in.waited += time.Since(begin)
	return in.err
}

// awaitSize waits until the input has size bytes, or is complete.
func (in *input) awaitSize(size int64) error {
	for in.size < size && !in.final {
		if err := in.await(in.size); err != nil {
			return err
		}
	}
	return nil
}

// read is what FFmpeg's reads end in: whatever is there of the bytes asked for.
func (in *input) read(b []byte) C.int {
	if in.await(in.pos) != nil {
		return C.AVERROR_EXIT
	}
	b = b[:min(int64(len(b)), max(0, in.size-in.pos))]
	if len(b) == 0 {
		return C.AVERROR_EOF
	}
	n, err := unix.Pread(in.fd, b, in.base+in.pos)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		in.err = &media.Error{Kind: media.ErrInput, Message: "reading the input failed: " + err.Error()}
		return C.AVERROR_EXIT
	}
	in.pos += int64(n)
	in.high = max(in.high, in.pos)
	return C.int(n)
}

//export detRead
func detRead(handle C.uintptr_t, buf *C.uint8_t, n C.int) C.int {
	in := cgo.Handle(handle).Value().(*input)
	return in.read(unsafe.Slice((*byte)(buf), int(n)))
}

//export detSeek
func detSeek(handle C.uintptr_t, offset C.int64_t, whence C.int) C.int64_t {
	in := cgo.Handle(handle).Value().(*input)
	if whence &^= C.AVSEEK_FORCE; !in.seekable && (whence != io.SeekStart || int64(offset) > in.pos || int64(offset) < in.pos-maxBack) {
		return -C.EPIPE
	}
	switch whence {
	case C.AVSEEK_SIZE:
		return C.int64_t(in.size)
	case io.SeekStart:
		in.pos = int64(offset)
	case io.SeekCurrent:
		in.pos += int64(offset)
	case io.SeekEnd:
		in.pos = in.size + int64(offset)
	}
	return C.int64_t(in.pos)
}

//export detLog
func detLog(handle C.uintptr_t, line *C.char) {
	cgo.Handle(handle).Value().(media.Host).Log(C.GoString(line))
}

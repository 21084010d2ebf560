package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// JPEGWalk finds out, as the bytes pass, whether another picture begins where the
// JPEG picture that an input begins with ends.
type JPEGWalk struct {
	pos  int64
	data bool // pos is within the entropy-coded data of a scan
}

// Walk goes on as far as size bytes allow. need is the size from which calling it
// again makes sense, 0 once many tells whether there is another picture. What is
// damaged, or holds further views of its own (MPF), is one picture.
func (w *JPEGWalk) Walk(r io.ReaderAt, size int64) (many bool, need int64, err error) {
	var b [4 << 10]byte
	for {
		n, err := r.ReadAt(b[:min(int64(len(b)), max(0, size-w.pos))], w.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, 0, fmt.Errorf("read picture: %w", err)
		}
		begin := w.pos
		for h := b[:n]; ; {
			step, many, over := w.step(h)
			if over {
				return many, 0, nil
			}
			if step == 0 && w.pos == begin { // there is not enough
				return false, w.pos + int64(len(h)) + 1, nil
			}
			w.pos += step
			if step == 0 || step >= int64(len(h)) {
				break // to read on there
			}
			h = h[step:]
		}
	}
}

// step looks at the bytes from pos on: how many of them are done with, 0: more are
// needed to tell; or that it is over.
func (w *JPEGWalk) step(h []byte) (step int64, many, over bool) {
	if w.data {
		if skip := scanData(h); skip > 0 {
			return skip, false, false
		}
	}
	switch {
	case len(h) < 2:
		return 0, false, false
	case h[0] != 0xff:
		return 0, false, true
	case h[1] == 0xd9:
		return 0, len(h) >= 4 && h[2] == 0xff && h[3] == 0xd8, len(h) >= 4
	case h[1] == 0xff:
		step = 1
	case h[1] == 0xd8, h[1] == 0x01, h[1] >= 0xd0 && h[1] <= 0xd7:
		step = 2
	case len(h) < 8:
		return 0, false, false
	case h[1] == 0xe2 && string(h[4:8]) == "MPF\x00":
		return 0, false, true
	default:
		w.data = h[1] == 0xda
		return 2 + int64(binary.BigEndian.Uint16(h[2:])), false, false
	}
	w.data = false
	return step, false, false
}

// scanData is how many bytes belong to the scan for sure: up to a marker.
func scanData(h []byte) int64 {
	for i := 0; i+1 < len(h); i++ {
		if h[i] == 0xff && h[i+1] != 0 && (h[i+1] < 0xd0 || h[i+1] > 0xd7) {
			return int64(i)
		}
	}
	return int64(max(0, len(h)-1))
}

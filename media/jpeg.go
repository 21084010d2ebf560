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
	for {
		var b [4 << 10]byte
		n, err := r.ReadAt(b[:min(int64(len(b)), max(0, size-w.pos))], w.pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, 0, fmt.Errorf("read picture: %w", err)
		}
		h := b[:n]
		if w.data {
			if skip := scanData(h); skip > 0 {
				w.pos += skip
				continue
			}
		}
		switch {
		case len(h) < 2:
			return false, w.pos + 2, nil
		case h[0] != 0xff:
			return false, 0, nil
		case h[1] == 0xd9:
			if len(h) < 4 {
				return false, w.pos + 4, nil
			}
			return h[2] == 0xff && h[3] == 0xd8, 0, nil
		case h[1] == 0xff:
			w.pos++
		case h[1] == 0xd8, h[1] == 0x01, h[1] >= 0xd0 && h[1] <= 0xd7:
			w.pos += 2
		case len(h) < 8:
			return false, w.pos + 8, nil
		case h[1] == 0xe2 && string(h[4:8]) == "MPF\x00":
			return false, 0, nil
		default:
			w.data = h[1] == 0xda
			w.pos += 2 + int64(binary.BigEndian.Uint16(h[2:]))
			continue
		}
		w.data = false
	}
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

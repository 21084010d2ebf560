package media

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// IndexWalk finds out, as the bytes of an ISO-BMFF file (MP4) pass, whether its
// index (moov) precedes the media data (mdat). It reads box headers only.
type IndexWalk struct {
	pos   int64
	boxes int
	media bool // an mdat has begun

	index, indexEnd int64 // where the moov box lies, once it was found
}

// IndexPlace is where the index of an ISO-BMFF file is.
type IndexPlace int

// The places.
const (
	IndexUnknown  IndexPlace = iota // not enough bytes yet
	IndexFirst                      // before the media data, and complete: can be decoded as a stream
	IndexAwaited                    // behind the media data, and not complete yet
	IndexComplete                   // behind the media data, and here
)

// The errors of a walk.
var (
	ErrNoIndex   = errors.New("the upload ended before the index (moov)")
	ErrTornIndex = errors.New("the upload ended within the index (moov)")
	errBadBoxes  = errors.New("the boxes of the MP4 file are damaged")
)

// maxBoxes bounds how many top-level boxes come before the index.
const maxBoxes = 100_000

// Walk goes on as far as size bytes allow. need is the size from which calling it
// again makes sense; final says that the input will not grow. It returns ErrNoIndex
// or ErrTornIndex if there is no index or a part of one.
func (w *IndexWalk) Walk(r io.ReaderAt, size int64, final bool) (place IndexPlace, need int64, err error) {
	for {
		kind, end, err := w.box(r, size)
		switch {
		case err != nil:
			return 0, 0, err
		case kind == "": // the header is not here yet
			if final {
				return 0, 0, ErrNoIndex
			}
			return w.place(), w.pos + 16, nil
		case kind == "moof":
			return IndexFirst, 0, nil
		case kind == "moov":
			w.index, w.indexEnd = w.pos, end
			switch {
			case end > size && final:
				return 0, 0, ErrTornIndex
			case end > size:
				return w.place(), end, nil
			case w.media:
				return IndexComplete, end, nil
			}
			return IndexFirst, end, nil
		case kind == "mdat":
			w.media = true
		}
		w.pos = end
		if w.boxes++; w.boxes > maxBoxes {
			return 0, 0, errBadBoxes
		}
	}
}

func (w *IndexWalk) place() IndexPlace {
	if w.media {
		return IndexAwaited
	}
	return IndexUnknown
}

// Fragmented says whether the index, which must be complete now, announces further
// fragments, so that it does not know the whole length.
func (w *IndexWalk) Fragmented(r io.ReaderAt) bool {
	in := IndexWalk{pos: w.index + 8}
	for in.pos < w.indexEnd && in.boxes < maxBoxes {
		kind, end, err := in.box(r, w.indexEnd)
		if err != nil || kind == "" {
			return false
		}
		if kind == "mvex" {
			return true
		}
		in.pos = end
		in.boxes++
	}
	return false
}

// CutShort says by how many bytes a complete ISO-BMFF file of this size is shorter
// than its media data (mdat) says. What else may lie behind it does not count.
func CutShort(r io.ReaderAt, size int64) (missing int64) {
	var w IndexWalk
	for ; w.boxes < maxBoxes; w.boxes++ {
		kind, end, err := w.box(r, size)
		switch {
		case err != nil || kind == "":
			return 0
		case end > size:
			if kind != "mdat" || end == 1<<62 { // without a length it ends with the file
				return 0
			}
			return end - size
		}
		w.pos = end
	}
	return 0
}

// box reads the header at pos. kind is empty if it is not complete.
func (w *IndexWalk) box(r io.ReaderAt, size int64) (kind string, end int64, err error) {
	var h [16]byte
	n := min(int64(len(h)), size-w.pos)
	if n < 8 {
		return "", 0, nil
	}
	if _, err := r.ReadAt(h[:n], w.pos); err != nil {
		return "", 0, fmt.Errorf("read box: %w", err)
	}
	length := int64(binary.BigEndian.Uint32(h[:]))
	switch {
	case length == 0: // up to the end of the file
		length = 1<<62 - w.pos
	case length == 1:
		if n < 16 {
			return "", 0, nil
		}
		length = int64(binary.BigEndian.Uint64(h[8:]))
	}
	if length < 8 || length > 1<<62-w.pos {
		return "", 0, errBadBoxes
	}
	return string(h[4:8]), w.pos + length, nil
}

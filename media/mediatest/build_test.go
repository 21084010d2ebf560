//go:build cgo

package mediatest_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"detections/media/mediatest"
)

// read reads a whole test file.
func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(mediatest.Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// patch makes a file with other bytes so far behind the first place of a mark.
func patch(name, mark string, offset int, with []byte) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		file := read(t, name)
		at := bytes.Index(file, []byte(mark))
		if at < 0 {
			t.Fatalf("%s has no %q", name, mark)
		}
		copy(file[at+offset:], with)
		return file
	}
}

func insert(file []byte, at int, what []byte) []byte {
	return bytes.Join([][]byte{file[:at], what, file[at:]}, nil)
}

// box is one of ISO base media.
func box(kind string, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(payload)))
	return append(append(b, kind...), payload...)
}

// moovWith puts a box into the index, at its end.
func moovWith(file, what []byte) []byte {
	at := bytes.Index(file, []byte("moov")) - 4
	size := binary.BigEndian.Uint32(file[at:])
	file = insert(file, at+int(size), what)
	binary.BigEndian.PutUint32(file[at:], size+uint32(len(what)))
	return file
}

// emptied takes all samples off a file's first track.
func emptied(t *testing.T, name string) []byte {
	t.Helper()
	file := read(t, name)
	for table, count := range map[string]int{"stts": 8, "stss": 8, "stsc": 8, "stsz": 12, "stco": 8} {
		at := bytes.Index(file, []byte(table))
		if at < 0 {
			t.Fatalf("%s has no %s", name, table)
		}
		binary.BigEndian.PutUint32(file[at+count:], 0)
	}
	return file
}

// element is one of EBML.
func element(id string, parts ...[]byte) []byte {
	payload := bytes.Join(parts, nil)
	size := binary.BigEndian.AppendUint64(nil, 1<<56|uint64(len(payload)))
	return append(append([]byte(id), size...), payload...)
}

// beforeClusters puts an element before the media of a Matroska file.
func beforeClusters(what []byte) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		file := read(t, "people.mkv")
		return insert(file, bytes.Index(file, []byte("\x1f\x43\xb6\x75")), what)
	}
}

// hugeH264 is people.h264 with sequence parameters that say 16384×16384.
func hugeH264(t *testing.T) []byte {
	t.Helper()
	file := read(t, "people.h264")
	next := 4 + bytes.Index(file[4:], []byte{0, 0, 0, 1})
	var b bitWriter
	b.put(66, 8) // baseline
	b.put(0, 8)
	b.put(62, 8)                             // level 6.2
	for _, v := range []uint32{0, 0, 2, 1} { // id, frame numbers, order, references
		b.golomb(v)
	}
	b.put(0, 1)
	b.golomb(1023) // width and height in macroblocks, less one
	b.golomb(1023)
	b.put(0b11001, 5) // no fields, no cropping, no VUI, and the end
	sps := append([]byte{0, 0, 0, 1, 0x67}, b.bytes()...)
	return bytes.ReplaceAll(file, file[:next:next], sps)
}

// bitWriter writes bits, one in each byte until the end.
type bitWriter []byte

func (w *bitWriter) put(v uint32, n int) {
	for n--; n >= 0; n-- {
		*w = append(*w, byte(v>>n&1))
	}
}

// golomb writes a number as Exp-Golomb code.
func (w *bitWriter) golomb(v uint32) {
	n := 0
	for x := v + 1; x > 1; x >>= 1 {
		n++
	}
	w.put(0, n)
	w.put(v+1, n+1)
}

func (w bitWriter) bytes() []byte {
	out := make([]byte, (len(w)+7)/8)
	for i, bit := range w {
		out[i/8] |= bit << (7 - i%8)
	}
	return out
}

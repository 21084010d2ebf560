package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// box makes an ISO-BMFF box of a size in all.
func box(kind string, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, uint32(size))
	copy(b[4:], kind)
	return b
}

func cat(boxes ...[]byte) []byte { return bytes.Join(boxes, nil) }

func TestIndexWalk(t *testing.T) {
	long := cat([]byte{0, 0, 0, 1, 'm', 'd', 'a', 't', 0, 0, 0, 0, 0, 0, 0, 40}, make([]byte, 24))
	open := cat([]byte{0, 0, 0, 0, 'm', 'd', 'a', 't'}, make([]byte, 50))
	for name, c := range map[string]struct {
		file  []byte
		place IndexPlace
		need  int64
		err   error
	}{
		"index first":        {cat(box("ftyp", 24), box("moov", 100), box("mdat", 50)), IndexFirst, 124, nil},
		"index last":         {cat(box("ftyp", 24), box("mdat", 50), box("moov", 100)), IndexComplete, 174, nil},
		"long media":         {cat(box("ftyp", 24), long, box("moov", 100)), IndexComplete, 164, nil},
		"fragments":          {cat(box("styp", 24), box("moof", 24), box("mdat", 50)), IndexFirst, 0, nil},
		"no index":           {cat(box("ftyp", 24), box("mdat", 50)), 0, 0, ErrNoIndex},
		"torn media":         {cat(box("ftyp", 24), box("mdat", 500)[:80]), 0, 0, ErrNoIndex},
		"media without end":  {cat(box("ftyp", 24), open), 0, 0, ErrNoIndex},
		"torn index":         {cat(box("ftyp", 24), box("moov", 100)[:50]), 0, 0, ErrTornIndex},
		"torn index, behind": {cat(box("mdat", 24), box("moov", 100)[:50]), 0, 0, ErrTornIndex},
		"a box of 4 bytes":   {cat(box("ftyp", 24), []byte{0, 0, 0, 4, 'f', 'r', 'e', 'e'}, make([]byte, 20)), 0, 0, errBadBoxes},
		"a box beyond all":   {cat([]byte{0, 0, 0, 1, 'f', 'r', 'e', 'e', 255, 255, 255, 255, 255, 255, 255, 255}), 0, 0, errBadBoxes},
	} {
		var w IndexWalk
		place, need, err := w.Walk(bytes.NewReader(c.file), int64(len(c.file)), true)
		if place != c.place || need != c.need || !errors.Is(err, c.err) {
			t.Errorf("%s: place %d, need %d, err %v", name, place, need, err)
		}
	}
}

func TestCutShort(t *testing.T) {
	whole := cat(box("ftyp", 24), box("moov", 100), box("mdat", 500))
	for name, c := range map[string]struct {
		file []byte
		want int64
	}{
		"whole":              {whole, 0},
		"cut":                {whole[:300], 324},
		"cut in a fragment":  {cat(whole, box("moof", 30), box("mdat", 500)[:20]), 480},
		"cut before a box":   {whole[:124], 0},
		"without a length":   {cat(box("moov", 24), []byte{0, 0, 0, 0, 'm', 'd', 'a', 't'}, make([]byte, 50)), 0},
		"garbage behind it":  {cat(whole, []byte("garbage that is no box at all")), 0},
		"a torn box of tags": {cat(whole, box("udta", 100)[:30]), 0},
	} {
		if got := CutShort(bytes.NewReader(c.file), int64(len(c.file))); got != c.want {
			t.Errorf("%s: %d bytes missing, want %d", name, got, c.want)
		}
	}
}

func TestIndexWalkAsBytesPass(t *testing.T) {
	file := cat(box("ftyp", 24), box("mdat", 1000), box("free", 16), box("moov", 200))
	var w IndexWalk
	var size int64
	var places []IndexPlace
	for range 10 {
		place, need, err := w.Walk(bytes.NewReader(file[:size]), size, false)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, place)
		if place == IndexComplete {
			break
		}
		if need <= size || need > int64(len(file)) {
			t.Fatalf("with %d bytes it asks for %d", size, need)
		}
		size = need
	}
	if len(places) > 7 || places[len(places)-1] != IndexComplete || places[len(places)-2] != IndexAwaited || places[0] != IndexUnknown {
		t.Errorf("places %v", places)
	}
}

func TestFragmented(t *testing.T) {
	inner := box("moov", 8+32+16)
	copy(inner[8:], box("mvhd", 32))
	copy(inner[40:], box("mvex", 16))
	for _, c := range []struct {
		moov []byte
		want bool
	}{{inner, true}, {box("moov", 60), false}} {
		var w IndexWalk
		file := cat(box("ftyp", 24), c.moov)
		if _, _, err := w.Walk(bytes.NewReader(file), int64(len(file)), true); err != nil {
			t.Fatal(err)
		}
		if got := w.Fragmented(bytes.NewReader(file)); got != c.want {
			t.Errorf("%v", got)
		}
	}
}

func FuzzIndexWalk(f *testing.F) {
	f.Add(cat(box("ftyp", 24), box("mdat", 50), box("moov", 100)), int64(30))
	f.Fuzz(func(t *testing.T, file []byte, part int64) {
		var w IndexWalk
		size := max(0, min(part, int64(len(file))))
		place, need, err := w.Walk(bytes.NewReader(file), size, false)
		if err == nil && place < IndexComplete && place != IndexFirst && need <= size {
			t.Errorf("place %d with %d bytes asks for %d", place, size, need)
		}
		_, _, _ = w.Walk(bytes.NewReader(file), int64(len(file)), true)
		w.Fragmented(bytes.NewReader(file))
	})
}

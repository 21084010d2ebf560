package main

import (
	"encoding/binary"
	"image"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"detections/session/wire"
)

// exif is the beginning of a JPEG with an orientation.
func exif(order binary.AppendByteOrder, mark string, o uint16) []byte {
	tiff := order.AppendUint32(order.AppendUint16([]byte(mark), 42), 8)
	tiff = order.AppendUint16(tiff, 1)
	tiff = order.AppendUint16(order.AppendUint32(order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3), 1), o)
	tiff = append(tiff, 0, 0)
	part := append([]byte("Exif\x00\x00"), tiff...)
	head := binary.BigEndian.AppendUint16([]byte("\xff\xd8\xff\xe1"), uint16(len(part)+2))
	return append(head, part...)
}

func TestPicturesAreTurnedAsTheirEXIFSays(t *testing.T) {
	src := image.NewGray(image.Rect(0, 0, 3, 2)) // its top left corner is white
	src.SetGray(0, 0, color.Gray{255})
	for o, corner := range map[uint16]image.Point{
		1: {0, 0}, 2: {2, 0}, 3: {2, 1}, 4: {0, 1}, 5: {0, 0}, 6: {1, 0}, 7: {1, 2}, 8: {0, 2}, 9: {0, 0},
	} {
		for mark, order := range map[string]binary.AppendByteOrder{"II": binary.LittleEndian, "MM": binary.BigEndian} {
			m := upright(src, exif(order, mark, o))
			if r, _, _, _ := m.At(corner.X, corner.Y).RGBA(); r != 0xffff || (m.Bounds().Dx() == 2) != (o >= 5 && o <= 8) {
				t.Errorf("%s orientation %d: %v, white is not at %v", mark, o, m.Bounds(), corner)
			}
		}
	}
	whole := exif(binary.BigEndian, "MM", 6)
	for n := range whole {
		orientation(whole[:n]) // does not panic
	}
}

func TestFoldersAreSearchedByContent(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a/clip.bin": "\x00\x00\x00\x18ftypisom", "b/clip.bin": "\x89PNG\r\n\x1a\n", "b/movie.mp4": "just words", ".hidden/x": "\x89PNG\r\n\x1a\n", ".x": "\xff\xd8\xff",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := &detector{screen: &screen{quiet: true}}
	found := d.find([]string{dir, filepath.Join(dir, "a/clip.bin"), filepath.Join(dir, "b/clip.bin"), "https://example.org/x/clip.mp4?t=1", "-"})
	var names []string
	for _, in := range found {
		names = append(names, in.out)
	}
	want := []string{"a/clip.bin", "b/clip.bin", "clip.bin", "clip.bin-2", "clip.mp4", "stdin"}
	if !slices.Equal(names, want) || d.failed != 0 || found[0].size != 12 {
		t.Errorf("found %q, want %q", names, want)
	}
}

func TestPeekGivesEverythingBack(t *testing.T) {
	text := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 10_000)
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
		whole, s, err := peek(io.NopCloser(r))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(whole); err != nil || string(got) != text || s.Container != "png" {
			t.Errorf("%d bytes of %q, %v", len(got), s.Container, err)
		}
	}
}

func TestSummaryCounts(t *testing.T) {
	s := newSummary(&input{name: "x.mp4"})
	s.video = true
	for frame, labels := range []string{"person person", "", "car person"} {
		m := &wire.Detections{Frame: int64(frame), Width: 4, Height: 3}
		for l := range strings.FieldsSeq(labels) {
			m.Detections = append(m.Detections, wire.Detection{Label: l, Confidence: wire.Decimal(0.5 + float32(frame)/10)})
		}
		s.add(m)
	}
	s.finish(errInterrupted)
	text := s.text(func(s string) string { return s })
	for _, want := range []string{"x.mp4  4×3, 3 of 3 frames", "cancelled before its end", "person       3  in 2 of 3 frames, at most 2 in one, confidence up to 0.70", "car          1  in 1 of 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if got := s.line(); !strings.HasSuffix(got, "3 person, 1 car") {
		t.Error(got)
	}
}

package main

import (
	"bytes"
	"encoding/binary"
	"image"
)

// upright turns a picture as its EXIF data asks: the hub does so before it looks,
// and Go's decoders do not.
func upright(src image.Image, text []byte) *image.RGBA {
	b, o := src.Bounds(), orientation(text)
	w, h := b.Dx(), b.Dy()
	if o >= 5 {
		w, h = h, w
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			sx, sy := x, y // of the stored picture
			if o >= 5 {
				sx, sy = y, x
			}
			if o == 2 || o == 3 || o == 7 || o == 8 {
				sx = b.Dx() - 1 - sx
			}
			if o == 3 || o == 4 || o == 6 || o == 7 {
				sy = b.Dy() - 1 - sy
			}
			out.Set(x, y, src.At(b.Min.X+sx, b.Min.Y+sy))
		}
	}
	return out
}

// orientation is the EXIF orientation of a JPEG, 1 to 8; 1 if it says nothing.
func orientation(text []byte) int {
	if !bytes.HasPrefix(text, []byte("\xff\xd8")) {
		return 1
	}
	for at := 2; at+4 <= len(text) && text[at] == 0xff; {
		size := int(binary.BigEndian.Uint16(text[at+2:]))
		if size < 2 || at+2+size > len(text) || text[at+1] == 0xda { // the pixels begin
			return 1
		}
		part := text[at+4 : at+2+size]
		if tiff, ok := bytes.CutPrefix(part, []byte("Exif\x00\x00")); ok && text[at+1] == 0xe1 {
			return tiffOrientation(tiff)
		}
		at += 2 + size
	}
	return 1
}

// tiffOrientation looks through the first directory of EXIF data.
func tiffOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if tiff[0] == 'M' {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	n := uint64(order.Uint16(tiff[at:]))
	for i := range n {
		entry := at + 2 + 12*i
		if entry+12 > uint64(len(tiff)) {
			break
		}
		const tag = 0x0112
		if v := order.Uint16(tiff[entry+8:]); order.Uint16(tiff[entry:]) == tag && v >= 1 && v <= 8 {
			return int(v)
		}
	}
	return 1
}

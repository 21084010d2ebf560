package client

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// isoBox is a box of so many bytes.
func isoBox(kind string, size int) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(size))) + kind + strings.Repeat(".", size-8)
}

// TestOutlinesDoNotDependOnHowBytesCome gives streams in pieces of all sizes.
func TestOutlinesDoNotDependOnHowBytesCome(t *testing.T) {
	t.Parallel()
	begin := isoBox("ftyp", 24) + isoBox("moov", 300)
	fragment := isoBox("moof", 100) + isoBox("mdat", 1000)
	cluster := "\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff" + "\xe7\x81\x05" + "\xa3\x84...." // without a length
	webm := "\x1a\x45\xdf\xa3\x84webm" + "\x18\x53\x80\x67\x84"
	tracks := "\x15\x49\xa9\x66\x82ii" + "\x16\x54\xae\x6b\x84tttt"
	flvTag := func(kind, first, second byte, n int) string {
		return string([]byte{kind, 0, 0, byte(n), 0, 0, 0, 0, 0, 0, 0, first, second}) + strings.Repeat(".", n-2) + "size"
	}
	flvBegin := "FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x00" + flvTag(18, 2, 0, 50) + flvTag(9, 0x17, 0, 40)
	for name, c := range map[string]struct {
		stream, header string
		cuts           []int64
	}{
		"fragments": {
			begin + fragment + isoBox("styp", 20) + isoBox("sidx", 30) + fragment + fragment, begin,
			[]int64{324, 1424, 2574},
		},
		"one file": {begin + isoBox("mdat", 5000), begin, nil},
		"clusters": {
			webm + "\x11\x4d\x9b\x74\x82ss" + tracks + cluster + cluster + "\x1f\x43\xb6\x75\x83xyz" + cluster,
			webm[:9] + string(anyLength) + tracks,
			[]int64{37, 58, 79, 87},
		},
		"tags": {
			flvBegin + flvTag(8, 0xaf, 1, 30) + flvTag(9, 0x17, 1, 90) + flvTag(9, 0x27, 1, 70) + flvTag(9, 0x17, 1, 90),
			flvBegin,
			[]int64{13 + 65 + 55 + 45, 13 + 65 + 55 + 45 + 105 + 85},
		},
		"units": {
			"\x00\x00\x00\x01\x67" + strings.Repeat("-", 60) + "\x00\x00\x01\x68--\x00\x00\x01\x65--\x00\x00\x01\x67--", "",
			[]int64{1, 65 + 6 + 6},
		},
		"noise": {strings.Repeat("\xff", 100), "", nil},
	} {
		for size := 1; size <= len(c.stream); size++ {
			o := newOutline("")
			for piece := range slices.Chunk([]byte(c.stream), size) {
				o.pass(piece)
				if o.unread() > o.pos || o.unread() < o.pos-longestHead {
					t.Fatalf("%s: at %d of %d", name, o.unread(), o.pos)
				}
			}
			if string(o.header) != c.header || !slices.Equal(o.cuts, c.cuts) || o.pos != int64(len(c.stream)) {
				t.Fatalf("%s in pieces of %d: header of %d bytes, cuts %v, %d bytes passed", name, size, len(o.header), o.cuts, o.pos)
			}
		}
	}
}

func TestOutlinesAreBounded(t *testing.T) {
	t.Parallel()
	o := newOutline("mjpeg")
	for range 3 * maxCuts {
		o.pass([]byte("\xff\xd8\xff--"))
	}
	if len(o.cuts) > maxCuts {
		t.Errorf("%d cuts", len(o.cuts))
	}
	if at, ok := o.next(5 * 3 * maxCuts / 2); !ok || at < 5*3*maxCuts/2 {
		t.Errorf("the next is at %d, %v", at, ok)
	}
	if at, ok := newOutline("mpegts").next(77); !ok || at != 77 {
		t.Errorf("a transport stream goes on at %d, %v", at, ok)
	}
}

// TestLiveStreamsGoOnBehindTheirHeader loses a connection at every byte that a hub can
// have received, in the middle of the header that is sent again too.
func TestLiveStreamsGoOnBehindTheirHeader(t *testing.T) {
	t.Parallel()
	header := isoBox("ftyp", 24) + isoBox("moov", 30)
	var stream strings.Builder
	for i := range 5 {
		stream.WriteString(isoBox("moof", 20) + isoBox("mdat", 40+i))
	}
	for lost := int64(1); lost < int64(len(header+stream.String())); lost++ {
		for again := int64(0); again < 70; again += 3 {
			b := newBuffer(1000, 7, newOutline("")) // somebody fed the session before
			got := receive(t, b, 7, lost, header+stream.String())
			second := receive(t, b, 7+int64(len(got)), again, "")
			third := receive(t, b, 7+int64(len(got)+len(second)), 1<<40, "")
			if whole := header + stream.String(); !strings.HasPrefix(whole, got) || !strings.HasPrefix(third, header) && third != "" ||
				third != "" && !strings.HasSuffix(stream.String(), third[len(header):]) || third == "" && lost < int64(len(whole))-2*64 {
				t.Fatalf("lost at %d and %d: %s", lost, again, fmt.Sprintf("%q, %q, %q", got, second, third))
			}
			if third != "" && third[len(header)+4:len(header)+8] != "moof" {
				t.Fatalf("lost at %d: went on with %q", lost, third[len(header):])
			}
		}
	}
}

// receive is a hub that has at bytes and gets so many more before the connection is lost.
func receive(t *testing.T, b *buffer, at, most int64, media string) (got string) {
	t.Helper()
	turn, err := b.take(at, 1<<20, 16)
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		if err := b.fill(strings.NewReader(media)); err != nil {
			t.Fatal(err)
		}
	}
	for int64(len(got)) < most {
		p, ok := b.next(turn)
		if !ok {
			t.Fatal("nothing more is to be sent")
		}
		if p == nil {
			break
		}
		n := int(min(int64(len(p)), most-int64(len(got))))
		got += string(p[:n])
		b.sent(turn, len(p))
		b.ack(at + int64(len(got)))
	}
	b.interrupt()
	return got
}

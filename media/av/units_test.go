package av

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
	"detections/media/mediatest"
)

// unitsOf are the frames of an IVF file as units, 100 ms apart.
func unitsOf(t *testing.T, name, codec string, key func(b []byte) bool) (all []media.Unit) {
	t.Helper()
	b := read(t, name)
	for b = b[32:]; len(b) > 12; {
		size := binary.LittleEndian.Uint32(b)
		data := b[12 : 12+size]
		n := len(all)
		all = append(all, media.Unit{
			Codec: codec, PTS: time.Duration(n) * 100 * time.Millisecond, Key: key(data), Data: data,
			Stamp: media.Stamp{RTP: uint32(n) * 9000, HasRTP: true},
		})
		b = b[12+size:]
	}
	return all
}

func vp8(t *testing.T) []media.Unit {
	return unitsOf(t, "people-vp8.ivf", "vp8", func(b []byte) bool { return b[0]&1 == 0 })
}

// input are units as a file.
func unitFile(t *testing.T, all []media.Unit) (*os.File, int64) {
	t.Helper()
	var b []byte
	for i := range all {
		var err error
		if b, err = media.AppendUnit(b, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return file(t, b)
}

// taker is a host that keeps what is told of the frames.
type taker struct {
	*measure
	got   []media.FrameInfo
	stats media.DecodeStats
}

func (h *taker) Put(o media.Output, st media.DecodeStats) error {
	if h.stats = st; o.Frame != nil {
		h.got = append(h.got, o.Frame.FrameInfo)
	}
	return nil
}

func decodeUnits(t *testing.T, all []media.Unit, change func(*media.Job)) *taker {
	t.Helper()
	f, size := unitFile(t, all)
	j := media.Job{Views: []media.View{mediatest.Small}, Container: media.Units, Live: true}
	if change != nil {
		change(&j)
	}
	h := &taker{measure: newMeasure(j, size, 0)}
	var err error
	if h.stats, err = Decode(h, f, j); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestUnitsAreDecodedWithTheirTimesAndStamps(t *testing.T) {
	all := vp8(t)
	all[50].Lost = 3
	h := decodeUnits(t, all, nil)
	if len(h.got) != len(all) || h.stats.Undecoded.Lost != 3 || h.stats.Undecoded.Total() != 3 {
		t.Fatalf("%d frames, %+v", len(h.got), h.stats)
	}
	for i, f := range h.got {
		if f.PTS != all[i].PTS || f.Stamp != all[i].Stamp || f.Width != 768 || f.Height != 576 {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	if size := h.got[len(all)-1].Input; size != h.size {
		t.Errorf("the last frame needed %d of %d bytes", size, h.size)
	}
}

// A phone that is turned, a sender that takes another codec in the middle.
func TestUnitsMayTurnAndChangeTheirCodec(t *testing.T) {
	first, second := vp8(t)[:5], unitsOf(t, "people-vp9.ivf", "vp9", func(b []byte) bool { return b[0]&0x0c == 0 })[:5]
	for i := range second {
		second[i].Rotation, second[i].PTS = 90, time.Duration(5+i)*100*time.Millisecond
	}
	h := decodeUnits(t, slices.Concat(first, second), nil)
	if len(h.got) != 10 {
		t.Fatalf("%d frames, %+v", len(h.got), h.stats)
	}
	for i, f := range h.got {
		if (f.Width == 576) != (i >= 5) {
			t.Errorf("frame %d is %d×%d", i, f.Width, f.Height)
		}
	}
}

// Of what has come already a live decoder that is behind takes what is fresh: from the
// latest key unit on, or, where every unit is one, the last.
func TestLiveUnitsThatAreLateAreLeftOut(t *testing.T) {
	all := vp8(t)
	last := 0
	for i, u := range all {
		if u.Key {
			last = i
		}
	}
	behind := func(j *media.Job) { j.MaxAge = time.Second }
	h := decodeUnits(t, all, behind)
	if n := len(all) - last; last == 0 || len(h.got) != n || h.stats.Undecoded.Late != int64(last) || h.got[0].Stamp != all[last].Stamp || h.stats.Undecoded.Corrupt != 0 {
		t.Errorf("%d frames behind the key unit %d; %d came out, %+v", n, last, len(h.got), h.stats)
	}
	patient := func(j *media.Job) { j.MaxAge = time.Minute }
	if h := decodeUnits(t, all, patient); len(h.got) != len(all) {
		t.Errorf("%d of %d frames with all the time in the world", len(h.got), len(all))
	}
	jpeg := read(t, "frame.jpg")
	var pictures []media.Unit
	for i := range 10 {
		pictures = append(pictures, media.Unit{Codec: "mjpeg", Key: true, PTS: time.Duration(i), Data: jpeg, Stamp: media.Stamp{Seq: int64(i), HasSeq: true}})
	}
	if h := decodeUnits(t, pictures, behind); len(h.got) != 1 || h.got[0].Stamp.Seq != 9 || h.stats.Undecoded.Late != 9 {
		t.Errorf("pictures: %+v, %+v", h.got, h.stats)
	}
}

// A decoder that takes over goes on as if there had been only one.
func TestUnitsCanBeResumed(t *testing.T) {
	all := vp8(t)
	all[20].Lost = 2
	whole := decodeUnits(t, all, nil)
	for _, after := range []int{0, 19, 20, 45, len(all) - 2} {
		h := decodeUnits(t, all, func(j *media.Job) { j.Resume = &whole.got[after].Checkpoint })
		if len(h.got) != len(all)-after-1 || h.stats != whole.stats || h.got[0].Stamp != all[after+1].Stamp {
			t.Errorf("after %d: %d frames, %+v, not %+v", after, len(h.got), h.stats, whole.stats)
		}
	}
}

func TestUnitsThatAreDamagedEndTheJob(t *testing.T) {
	f, size := unitFile(t, vp8(t)[:3])
	bad, _ := file(t, append(contents(t, f, size), make([]byte, 100)...))
	j := media.Job{Views: []media.View{mediatest.Small}, Container: media.Units, Live: true}
	if _, err := Decode(newMeasure(j, size+100, 0), bad, j); err == nil {
		t.Error("no error")
	}
	if _, err := Decode(newMeasure(j, size-10, 0), f, j); err != nil { // cut off
		t.Error(err)
	}
}

func contents(t *testing.T, f *os.File, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFFmpegMayReadSomeBytesBeyondAUnit(t *testing.T) {
	d := &decoder{pkt: astiav.AllocPacket()}
	defer d.pkt.Free()
	const padding = 64                            // AV_INPUT_BUFFER_PADDING_SIZE
	for _, size := range []int{1000, 990, 1, 0} { // in memory that was used
		b, err := d.payload(size)
		if err != nil {
			t.Fatal(err)
		}
		beyond := unsafe.Slice(unsafe.SliceData(b), size+padding)[size:]
		if !bytes.Equal(beyond, make([]byte, padding)) {
			t.Errorf("behind %d bytes: % x", size, beyond)
		}
		for i := range b {
			b[i] = 0xff
		}
		d.pkt.Unref()
	}
}

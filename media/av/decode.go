package av

/*
#include <errno.h>
#cgo pkg-config: libavcodec libavformat libswscale libavutil
#include "shim.h"
*/
import "C"

import (
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/cgo"
	"sync"
	"time"
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
)

var setup = sync.OnceFunc(func() { C.det_setup(maxAlloc) })

var _ media.Loop = Decode

// Decode is the media.Loop: it decodes the input, scales the pictures that the
// sampling rule picks, and gives them to the host.
func Decode(h media.Host, file *os.File, job media.Job) (media.DecodeStats, error) {
	setup()
	// Log lines and limits are found by thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	st, err := attempt(h, file, job)
	if errors.Is(err, errAstray) {
		h.Log("resuming from a key packet gave another picture: decoding from the beginning")
		at := *job.Resume
		at.Key = 1
		job.Resume = &at
		st, err = attempt(h, file, job)
	}
	return st, err
}

func attempt(h media.Host, file *os.File, job media.Job) (media.DecodeStats, error) {
	d := newDecoder(h, file, job)
	defer d.close()
	err := d.run()
	if err == nil {
		d.job.From = 0
		err = d.changeRules() // those that came too late still come back
	}
	return d.stats, err
}

// decoder is one job. Owned by the loop's goroutine.
type decoder struct {
	// Static after construction.
	host     media.Host
	job      media.Job
	limits   media.Limits
	in       *input
	inHandle cgo.Handle
	logTo    cgo.Handle

	// Set by open.
	fc       *astiav.FormatContext
	pb       *C.AVIOContext
	seekable bool
	walk     media.IndexWalk
	indexEnd int64 // a seekable MP4 is of no use before this byte

	// Set by pick, and the decoder by the first packet.
	probed   int // times that there was no video stream yet
	chosen   bool
	stream   int
	timeBase astiav.Rational
	codec    astiav.CodecID
	lengths  int // see headOf
	cc       *astiav.CodecContext

	pkt      *astiav.Packet
	frame    *astiav.Frame
	spare    *media.Frame // a slot that was not used yet
	scaler   *scaler
	picker   media.Picker
	info     media.StreamInfo
	told     bool // info was put
	torn     bool // the last packet was cut short
	fields   bool // there are interlaced pictures, or packets that are not shown
	stats    media.DecodeStats
	keys     keys
	restarts restarts
	resume   *media.Checkpoint // until its picture has come
	clock    clock
	units    unitReader
	pace     pace
	skipper  skipper
	last     media.FrameInfo // of the latest picture, picked or not
	lastNS   time.Duration   // how long it lasts, as far as known
	input    int64           // bytes that were needed so far

	mark       time.Time     // of the previous picked picture
	markWaited time.Duration // in.waited then
}

func newDecoder(h media.Host, file *os.File, job media.Job) *decoder {
	d := &decoder{
		host: h, job: job, limits: job.Limits.WithDefaults(), in: newInput(h, file, job.Base), logTo: cgo.NewHandle(h),
		pkt: astiav.AllocPacket(), frame: astiav.AllocFrame(),
		scaler: newScaler(job.Views), picker: job.Picker(), resume: job.Resume, mark: time.Now(),
	}
	if job.Resume != nil {
		d.stats = job.Resume.Stats
	}
	d.inHandle = cgo.NewHandle(d.in)
	C.det_log_to(C.uintptr_t(d.logTo), C.int64_t(d.limits.Pixels))
	return d
}

func (d *decoder) close() {
	if d.cc != nil {
		d.cc.Free()
	}
	if d.fc != nil {
		d.fc.CloseInput()
	}
	if d.pb != nil {
		C.det_free_input(nil, d.pb)
	}
	d.pkt.Free()
	d.frame.Free()
	d.scaler.free()
	C.det_log_to(0, 0)
	d.inHandle.Delete()
	d.logTo.Delete()
}

// errDone ends a job that needs nothing more of its input.
var errDone = errors.New("done")

func (d *decoder) run() error {
	err := d.decodeAll()
	if err == nil {
		err = d.drain()
	}
	if err != nil && !errors.Is(err, errDone) {
		return err
	}
	if d.resuming() {
		return d.notThere()
	}
	d.countSkipped(math.MaxInt64)
	d.stats.Undecoded.NoKeyframe = d.keys.undecoded(true)
	if d.onePerPacket() {
		d.stats.Undecoded.Corrupt = max(d.stats.Undecoded.Corrupt, d.keys.missing())
	}
	if d.stats.Decoded == 0 {
		return d.noPicture()
	}
	return d.complete()
}

// complete says whether all the bytes have come that the input announces.
func (d *decoder) complete() error {
	if d.info.Container != media.MP4 {
		return nil
	}
	if missing := media.CutShort(d.in.file, d.in.size); missing > 0 {
		return refuse(media.ErrTruncated, "the media is cut short: by its own account %d bytes are missing after the %d that came; results so far are kept", missing, d.in.size)
	}
	return nil
}

// onePerPacket says whether every packet should have given a picture: not so where
// a packet may be a field or a picture that is never shown. The decoders of these
// drop pictures without an error.
func (d *decoder) onePerPacket() bool {
	return (d.info.Codec == "h264" || d.info.Codec == "hevc") && !d.fields
}

func (d *decoder) decodeAll() error {
	container, err := d.recognise()
	if err != nil {
		return err
	}
	d.info.Container = container
	d.clock.kind = clockOf(container)
	if id, ok := pictures[container]; ok {
		return d.decodePicture(id)
	}
	if d.job.Picture {
		return refuse(media.ErrUnsupported, "a still picture was expected, and the input is %s", container)
	}
	if container == media.Units {
		return d.readUnits()
	}
	if err := d.openDemuxer(); err != nil {
		return err
	}
	if err := d.findVideo(); err != nil {
		return err
	}
	return d.readPackets()
}

// decodePicture decodes a whole file as one access unit.
func (d *decoder) decodePicture(id astiav.CodecID) error {
	if err := d.in.awaitSize(maxPicture + 1); err != nil {
		return err
	}
	if d.in.size > maxPicture {
		return refuse(media.ErrTooLarge, "the picture has more than %d bytes", maxPicture)
	}
	d.timeBase = astiav.NewRational(1, 1)
	if err := d.openCodec(id, nil); err != nil {
		return err
	}
	b, err := d.payload(int(d.in.size))
	if err != nil {
		return err
	}
	defer d.pkt.Unref()
	if _, err := io.ReadFull(io.NewSectionReader(d.in.file, 0, d.in.size), b); err != nil {
		return refuse(media.ErrInput, "reading the input failed: %v", err)
	}
	d.in.high = d.in.size
	d.pkt.SetFlags(d.pkt.Flags().Add(astiav.PacketFlagKey))
	d.pkt.SetPts(0)
	return d.send(d.pkt, d.note(d.pkt))
}

// payload makes room for so many bytes in the packet, and returns it to be filled. FFmpeg
// reads some bytes beyond the end: they are there, and zero.
func (d *decoder) payload(size int) ([]byte, error) {
	if err := d.pkt.AllocPayload(size); err != nil {
		return nil, d.because(err, "reading the input")
	}
	return unsafe.Slice((*byte)(rawPacket(d.pkt).data), size), nil
}

// rawPacket is the AVPacket: its only field.
func rawPacket(pkt *astiav.Packet) *C.AVPacket { return *(**C.AVPacket)(unsafe.Pointer(pkt)) }

// readPackets demuxes until the end and decodes every packet of the chosen stream.
func (d *decoder) readPackets() error {
	for {
		err := d.fc.ReadFrame(d.pkt)
		switch {
		case d.in.err != nil:
			return d.in.err
		case d.overLimit() != "": // some demuxers go on, with whatever they take for media
			return d.because(err, "the "+d.info.Container+" input cannot be read")
		case errors.Is(err, astiav.ErrEof) && d.chosen:
			return nil
		case err != nil && d.chosen:
			// Damage that the demuxer cannot get over. What came before it counts.
			d.stats.Undecoded.Corrupt++
			d.host.Log("demuxing ended early: " + err.Error())
			return nil
		case err != nil:
			return d.noVideo()
		}
		err = d.packet()
		d.pkt.Unref()
		if err != nil {
			return err
		}
	}
}

// packet decodes one packet if it is of the chosen stream.
func (d *decoder) packet() error {
	if !d.chosen {
		if err := d.findVideo(); err != nil {
			return err
		}
	}
	if !d.chosen || d.pkt.StreamIndex() != d.stream {
		return nil
	}
	if err := d.openStream(); err != nil {
		return err
	}
	number := d.note(d.pkt)
	if d.skip(d.pkt, number) {
		return nil
	}
	if over, err := d.passOver(number); over || err != nil {
		return err
	}
	return d.send(d.pkt, number)
}

// note numbers a packet, and notes what is of use of it even if it is not decoded.
func (d *decoder) note(pkt *astiav.Packet) int64 {
	isKey := pkt.Flags().Has(astiav.PacketFlagKey)
	d.fields = d.fields || pkt.Flags().Has(astiav.PacketFlagDiscard)
	pts := pkt.Pts()
	if pts == astiav.NoPtsValue {
		pts = pkt.Dts()
	}
	number := d.keys.sent(isKey, d.ns(pts))
	d.clock.sent(number, d.ns(pkt.Dts()))
	d.noteRestart(pkt, number, isKey)
	return number
}

// drain takes the pictures that the decoder still has.
func (d *decoder) drain() error {
	if d.cc == nil {
		return nil
	}
	return d.send(nil, 0)
}

// findVideo chooses the stream to decode. Some containers show their streams only
// as packets pass: for those it is not an error yet that there is none.
func (d *decoder) findVideo() error {
	found, err := d.pick()
	if err != nil || found {
		return err
	}
	d.probed++
	if !d.fc.CtxFlags().Has(astiav.FormatContextCtxFlagNoHeader) || d.tell() > d.limits.Probe || d.probed > d.limits.ProbePackets {
		return d.noVideo()
	}
	return nil
}

// send gives the decoder a packet, or the end, and takes the pictures it has.
func (d *decoder) send(pkt *astiav.Packet, number int64) error {
	if pkt != nil {
		d.torn = pkt.Flags().Has(astiav.PacketFlagCorrupt)
		C.det_number_packet(rawPacket(pkt), C.int64_t(number))
	}
	if err := d.cc.SendPacket(pkt); err != nil {
		if err := d.refused(err); err != nil {
			return err
		}
	}
	for {
		err := d.cc.ReceiveFrame(d.frame)
		switch {
		case errors.Is(err, astiav.ErrEagain), errors.Is(err, astiav.ErrEof):
			return nil
		case err != nil:
			if err := d.refused(err); err != nil {
				return err
			}
			continue
		}
		err = d.picture()
		d.frame.Unref()
		if err != nil {
			return err
		}
	}
}

// refused counts a packet that the decoder did not take. Only a limit ends the job.
func (d *decoder) refused(err error) error {
	if d.overLimit() != "" || errors.Is(err, astiav.Error(-C.ENOMEM)) {
		return d.because(err, "decoding")
	}
	if d.keys.begun() && !d.resuming() {
		d.stats.Undecoded.Corrupt++
	}
	return nil
}

// tell is how many bytes of the input the demuxer has used.
func (d *decoder) tell() int64 {
	if d.seekable || d.pb == nil {
		return max(d.in.high, d.indexEnd)
	}
	return int64(C.det_tell(d.pb))
}

// ns converts a time of the chosen stream. None is MinInt64.
func (d *decoder) ns(t int64) time.Duration {
	return plausible(time.Duration(C.det_ns(C.int64_t(t), rational(d.timeBase))))
}

func rational(r astiav.Rational) C.AVRational {
	return C.AVRational{num: C.int(r.Num()), den: C.int(r.Den())}
}

func (d *decoder) noPicture() error {
	u := d.stats.Undecoded
	switch {
	case d.torn && d.keys.packets == 1:
		return refuse(media.ErrDecode, "the upload ended within the first picture")
	case u.NoKeyframe > 0 && u.Corrupt == 0:
		return refuse(media.ErrDecode, "no key frame was found in %d access units of %s", u.NoKeyframe, d.info.Codec)
	case u.Corrupt > 0:
		return refuse(media.ErrDecode, "none of %d access units of %s could be decoded", u.Total(), d.info.Codec)
	}
	return refuse(media.ErrDecode, "the %s input ended before its first picture", d.info.Container)
}

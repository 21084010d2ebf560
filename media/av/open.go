package av

/*
#include <errno.h>
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// What one job may use.
const (
	maxPixels  = C.DET_MAX_PIXELS // of a coded picture
	maxStreams = 8
	probeSize  = 1 << 20   // bytes within which a video stream must show up
	maxAlloc   = 512 << 20 // one allocation of FFmpeg
	maxPicture = 64 << 20  // bytes of a still picture
	readBuffer = 32 << 10
)

// demuxers are FFmpeg's names for the containers that are offered.
var demuxers = map[string]string{
	media.MP4:      "mov",
	media.Matroska: "matroska",
	media.WebM:     "matroska",
	media.MPEGTS:   "mpegts",
}

// pictures are the codecs of still pictures: one file is one access unit, for
// which no demuxer is needed.
var pictures = map[string]astiav.CodecID{
	media.JPEG: astiav.CodecIDMjpeg,
	media.PNG:  astiav.CodecIDPng,
}

// codecs are the codecs that are offered, as far as this build of FFmpeg has them.
var codecs = []astiav.CodecID{
	astiav.CodecIDH264, astiav.CodecIDHevc, astiav.CodecIDVp8, astiav.CodecIDVp9,
	astiav.CodecIDMpeg4, astiav.CodecIDMpeg2Video, astiav.CodecIDMpeg1Video,
	astiav.CodecIDMsmpeg4V3, astiav.CodecIDCinepak, astiav.CodecIDMjpeg, astiav.CodecIDPng,
}

func refuse(kind error, format string, args ...any) error {
	return &media.Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// openDemuxer opens the demuxer of a recognised container.
func (d *decoder) openDemuxer() error {
	seekable := false
	if d.info.Container == media.MP4 {
		var err error
		if seekable, err = d.awaitIndex(); err != nil {
			return err
		}
	}
	return d.openFormat(demuxers[d.info.Container], seekable)
}

// recognise finds out the container from the first bytes, or takes the job's word.
func (d *decoder) recognise() (string, error) {
	if d.job.Container != "" {
		if !slices.Contains(media.Containers, d.job.Container) {
			return "", refuse(media.ErrUnsupported, "container %q is not offered; %s", d.job.Container, offered())
		}
		return d.job.Container, nil
	}
	var head [media.SniffLen]byte
	for {
		n, err := d.in.file.ReadAt(head[:min(int64(len(head)), d.in.size)], 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", refuse(media.ErrInput, "reading the input failed: %v", err)
		}
		s := media.Sniff(head[:n], d.in.final)
		switch {
		case s.Container != "":
			return s.Container, nil
		case d.in.final && n == 0:
			return "", refuse(media.ErrDecode, "the input is empty")
		case !s.More && s.Looks != "":
			return "", refuse(media.ErrUnsupported, "the input looks like %s; %s", s.Looks, offered())
		case !s.More:
			return "", refuse(media.ErrUnsupported, "the input is of no known format; %s", offered())
		}
		if err := d.in.await(int64(n)); err != nil {
			return "", err
		}
	}
}

func offered() string {
	return "offered are " + strings.Join(media.Containers, ", ") + " with " +
		strings.Join(codecNames(func(id astiav.CodecID, _ *astiav.Codec) string { return id.Name() }), ", ")
}

// awaitIndex says whether an MP4 must be read with seeks because its index is
// behind the media data, and waits for that index.
func (d *decoder) awaitIndex() (seekable bool, err error) {
	told := false
	for {
		place, need, err := d.walk.Walk(d.in.file, d.in.size, d.in.final)
		switch {
		case err != nil:
			return false, refuse(media.ErrDecode, "%v", err)
		case place == media.IndexFirst:
			return false, nil
		case place == media.IndexComplete:
			d.indexEnd = need
			return true, nil
		case place == media.IndexAwaited && d.job.Live:
			return false, refuse(media.ErrUnsupported, "this MP4 has its index (moov) behind the media data; a live feed must be fragmented or have it first")
		case place == media.IndexAwaited && !told:
			told = true
			if err := d.host.Put(media.Output{Waiting: media.WaitingForIndex}, d.stats); err != nil {
				return false, err
			}
		}
		if err := d.in.awaitSize(need); err != nil {
			return false, err
		}
	}
}

func (d *decoder) openFormat(name string, seekable bool) error {
	format := astiav.FindInputFormat(name)
	if format == nil {
		return refuse(media.ErrUnsupported, "this build has no demuxer %q", name)
	}
	d.fc = astiav.AllocFormatContext()
	d.seekable = seekable
	if e := C.det_set_input(d.raw(), C.uintptr_t(d.inHandle), readBuffer, boolInt(seekable)); e < 0 {
		return refuse(media.ErrDecode, "opening the input: %v", astiav.Error(e))
	}
	d.pb = C.det_input(d.raw())
	opts := astiav.NewDictionary()
	defer opts.Free()
	for k, v := range map[string]string{
		"format_whitelist":   name,
		"protocol_whitelist": "none",
		"codec_whitelist":    strings.Join(codecNames(func(_ astiav.CodecID, c *astiav.Codec) string { return c.Name() }), ","),
		"max_streams":        strconv.Itoa(maxStreams),
		"probesize":          strconv.Itoa(probeSize),
		"fpsprobesize":       "0",
	} {
		opts.Set(k, v, 0)
	}
	if err := d.fc.OpenInput("", format, opts); err != nil {
		// FFmpeg frees the context when opening fails.
		d.fc = nil
		return d.because(err, "the header of the "+d.info.Container+" input cannot be read")
	}
	return nil
}

// raw is the AVFormatContext, for which astiav has no accessor: its only field.
func (d *decoder) raw() *C.AVFormatContext {
	return *(**C.AVFormatContext)(unsafe.Pointer(d.fc))
}

// because explains an error of FFmpeg, looking for the cause behind it.
func (d *decoder) because(err error, what string) error {
	if d.in.err != nil {
		return d.in.err
	}
	if hit := C.det_limit_hit(); hit != nil {
		return refuse(media.ErrTooLarge, "%s: %s", what, C.GoString(hit))
	}
	if errors.Is(err, astiav.Error(-C.ENOMEM)) {
		return refuse(media.ErrTooLarge, "%s: it needs more memory than a job may use", what)
	}
	if errors.Is(err, astiav.ErrEof) && d.in.final {
		return refuse(media.ErrDecode, "%s: the upload ended within it", what)
	}
	return refuse(media.ErrDecode, "%s: %v", what, err)
}

// pick chooses the video stream to decode and opens its decoder: not a cover
// picture; the default one, else the largest, else the first. found is false if
// there is none so far.
func (d *decoder) pick() (found bool, err error) {
	best, score := -1, -1
	streams := d.fc.Streams()
	for i, st := range streams {
		p := st.CodecParameters()
		if p.MediaType() != astiav.MediaTypeVideo || decoderOf(p.CodecID()) == nil || C.det_is_cover(d.raw(), C.int(i)) != 0 {
			continue
		}
		s := p.Width() * p.Height()
		if C.det_is_default(d.raw(), C.int(i)) != 0 {
			s += 1 << 40
		}
		if s > score {
			best, score = i, s
		}
	}
	if best < 0 {
		return false, nil
	}
	for i, st := range streams {
		if i != best {
			st.SetDiscard(astiav.DiscardAll)
		}
	}
	p := streams[best].CodecParameters()
	if int64(p.Width())*int64(p.Height()) > maxPixels {
		return true, refuse(media.ErrTooLarge, "the pictures are %d×%d pixels; at most %d in all are decoded", p.Width(), p.Height(), maxPixels)
	}
	d.stream, d.timeBase = best, streams[best].TimeBase()
	d.describe(streams[best])
	return true, d.openCodec(p.CodecID(), p)
}

// openCodec opens a decoder; p, if there is one, says what the header says.
func (d *decoder) openCodec(id astiav.CodecID, p *astiav.CodecParameters) error {
	d.info.Codec = id.Name()
	codec := decoderOf(id)
	if codec == nil {
		return refuse(media.ErrUnsupported, "this build has no decoder for %s", id.Name())
	}
	d.cc = astiav.AllocCodecContext(codec)
	if p != nil {
		if err := p.ToCodecContext(d.cc); err != nil {
			return d.because(err, "the "+d.info.Codec+" stream cannot be set up")
		}
	}
	d.cc.SetTimeBase(d.timeBase)
	C.det_limit_codec((*C.AVCodecContext)(d.cc.UnsafePointer()), boolInt(d.strict(id)))
	if err := d.cc.Open(codec, nil); err != nil {
		return d.because(err, "the "+d.info.Codec+" decoder cannot be opened")
	}
	return nil
}

// strict says whether the decoder must assume the largest reordering that a stream
// may have if the stream does not tell. MP4 tells; for H.264 elsewhere FFmpeg would
// guess too low and give the first pictures in the wrong order. A live feed has no
// reordering, and no time to wait for it.
func (d *decoder) strict(id astiav.CodecID) bool {
	return id == astiav.CodecIDH264 && !d.job.Live && d.info.Container != media.MP4
}

// describe takes over what the header says of the stream's length and frame rate.
func (d *decoder) describe(st *astiav.Stream) {
	switch us := d.fc.Duration(); {
	case us > 0:
		d.info.Duration = time.Duration(us) * time.Microsecond
	case d.info.Container == media.MP4 && st.Duration() > 0 && !d.walk.Fragmented(d.in.file):
		d.info.Duration = d.ns(st.Duration())
	}
	rate := st.AvgFrameRate()
	if rate.Num() == 0 || rate.Den() == 0 {
		rate = st.RFrameRate()
	}
	switch n := st.NbFrames(); {
	case rate.Num() > 0 && rate.Den() > 0:
		d.info.FrameRate = rate.Float64()
	case n > 0 && d.info.Duration > 0:
		d.info.FrameRate = float64(n) / d.info.Duration.Seconds()
	}
}

// noVideo says what is there instead of a video stream.
func (d *decoder) noVideo() error {
	var found []string
	for _, st := range d.fc.Streams() {
		p := st.CodecParameters()
		article := "a "
		if p.MediaType() == astiav.MediaTypeAudio {
			article = "an "
		}
		found = append(found, fmt.Sprintf("%s%s stream (%s)", article, p.MediaType(), p.CodecID().Name()))
	}
	if len(found) == 0 {
		return refuse(media.ErrDecode, "the %s input has no streams", d.info.Container)
	}
	return refuse(media.ErrUnsupported, "the input has %s but no video that can be decoded; %s",
		strings.Join(found, " and "), offered())
}

func decoderOf(id astiav.CodecID) *astiav.Codec {
	if !slices.Contains(codecs, id) {
		return nil
	}
	return astiav.FindDecoder(id)
}

// codecNames are the names of the codecs, or of the decoders, that are offered.
func codecNames(name func(astiav.CodecID, *astiav.Codec) string) []string {
	var names []string
	for _, id := range codecs {
		if c := astiav.FindDecoder(id); c != nil {
			names = append(names, name(id, c))
		}
	}
	return names
}

func boolInt(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

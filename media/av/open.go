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
	"unsafe"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// What one job may use, beside what its Limits say.
const (
	maxAlloc   = 256 << 20 // one allocation of FFmpeg
	maxPicture = 64 << 20  // bytes of a still picture
	readBuffer = 32 << 10
)

// demuxers are FFmpeg's names for the containers that are offered.
var demuxers = map[string]string{
	media.MP4:      "mov",
	media.Matroska: "matroska",
	media.WebM:     "matroska",
	media.MPEGTS:   "mpegts",
	media.MPEGPS:   "mpeg",
	media.AVI:      "avi",
	media.FLV:      "flv",
	media.IVF:      "ivf",
	media.OBU:      "obu",
	media.H264:     "h264",
	media.HEVC:     "hevc",
	media.MJPEG:    "mjpeg",
}

// raw are the containers without time stamps: pictures are so far apart as
// Job.FPS says, or the stream itself.
var raw = []string{media.H264, media.HEVC, media.OBU, media.MJPEG}

// pictures are the codecs of still pictures: one file is one access unit, for
// which no demuxer is needed.
var pictures = map[string]astiav.CodecID{
	media.JPEG: astiav.CodecIDMjpeg,
	media.PNG:  astiav.CodecIDPng,
	media.WebP: astiav.CodecIDWebp,
	media.BMP:  astiav.CodecIDBmp,
	media.GIF:  astiav.CodecIDGif,
}

// codecs are the codecs that are offered, as far as this build of FFmpeg has them.
var codecs = []astiav.CodecID{
	astiav.CodecIDH264, astiav.CodecIDHevc, astiav.CodecIDAv1, astiav.CodecIDVp8, astiav.CodecIDVp9,
	astiav.CodecIDMpeg4, astiav.CodecIDMpeg2Video, astiav.CodecIDMpeg1Video,
	astiav.CodecIDMsmpeg4V3, astiav.CodecIDCinepak, astiav.CodecIDMjpeg, astiav.CodecIDPng,
	astiav.CodecIDWebp, astiav.CodecIDBmp, astiav.CodecIDGif,
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
		if d.job.Container != media.Units && !d.limits.Container(d.job.Container) {
			return "", refuse(media.ErrUnsupported, "container %q is not offered; %s", d.job.Container, d.offered())
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
		case s.Container == media.JPEG && !d.job.Picture:
			name, err := d.oneOrMany()
			if err != nil {
				return "", err
			}
			return d.allowed(name)
		case s.Container != "":
			return d.allowed(s.Container)
		case d.in.final && n == 0:
			return "", refuse(media.ErrDecode, "the input is empty")
		case !s.More && s.Looks != "":
			return "", refuse(media.ErrUnsupported, "the input looks like %s; %s", s.Looks, d.offered())
		case !s.More:
			return "", refuse(media.ErrUnsupported, "the input is of no known format; %s", d.offered())
		}
		if err := d.in.await(int64(n)); err != nil {
			return "", err
		}
	}
}

// oneOrMany tells a JPEG picture from a stream of them: the next picture begins
// right behind the first.
func (d *decoder) oneOrMany() (string, error) {
	var w media.JPEGWalk
	for {
		many, need, err := w.Walk(d.in.file, d.in.size)
		switch {
		case err != nil:
			return "", refuse(media.ErrInput, "reading the input failed: %v", err)
		case many:
			return media.MJPEG, nil
		case need == 0, d.in.final, need > maxPicture:
			return media.JPEG, nil
		}
		if err := d.in.awaitSize(need); err != nil {
			return "", err
		}
	}
}

// allowed refuses a container that this hub does not take.
func (d *decoder) allowed(name string) (string, error) {
	if !d.limits.Container(name) {
		return "", refuse(media.ErrUnsupported, "the input is %s, which is not among the containers that are allowed (setting containers); %s", name, d.offered())
	}
	return name, nil
}

func (d *decoder) offered() string {
	return "offered are " + strings.Join(slices.DeleteFunc(slices.Clone(media.Containers), func(c string) bool { return !d.limits.Container(c) }), ", ") +
		" with " + strings.Join(d.codecNames(func(id astiav.CodecID, _ *astiav.Codec) string { return id.Name() }), ", ")
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
	d.seekable, d.in.seekable = seekable, seekable
	var seek C.int = C.DET_SEEK_NOT
	switch {
	case seekable:
		seek = C.DET_SEEK_ANYWHERE
	case d.info.Container == media.MPEGPS:
		seek = C.DET_SEEK_BACK
	}
	if e := C.det_set_input(d.raw(), C.uintptr_t(d.inHandle), readBuffer, seek, boolInt(d.fillIn())); e < 0 {
		return refuse(media.ErrDecode, "opening the input: %v", astiav.Error(e))
	}
	d.pb = C.det_input(d.raw())
	opts := astiav.NewDictionary()
	defer opts.Free()
	for k, v := range map[string]string{
		"format_whitelist":   name,
		"protocol_whitelist": "none",
		"codec_whitelist":    strings.Join(d.codecNames(func(_ astiav.CodecID, c *astiav.Codec) string { return c.Name() }), ","),
		"max_streams":        strconv.Itoa(d.limits.Streams),
		"probesize":          strconv.FormatInt(d.limits.Probe, 10),
		"fpsprobesize":       "0",
	} {
		_ = opts.Set(k, v, 0)
	}
	if err := d.fc.OpenInput("", format, opts); err != nil {
		// FFmpeg frees the context when opening fails.
		d.fc = nil
		return d.because(err, "the header of the "+d.info.Container+" input cannot be read")
	}
	return nil
}

// fillIn says whether the demuxer may infer times. In a transport or program stream
// a picture may lack its own; FFmpeg, which does not know the order of pictures
// before it has looked at many, would take the time of decoding. Ours counts on from
// the picture before.
func (d *decoder) fillIn() bool {
	return d.info.Container != media.MPEGTS && d.info.Container != media.MPEGPS
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
	if hit := d.overLimit(); hit != "" {
		return refuse(media.ErrTooLarge, "%s: %s", what, hit)
	}
	if errors.Is(err, astiav.Error(-C.ENOMEM)) {
		return refuse(media.ErrTooLarge, "%s: it needs more memory than a decoder may have (setting worker-memory)", what)
	}
	if errors.Is(err, astiav.ErrEof) && d.in.final {
		return refuse(media.ErrDecode, "%s: the upload ended within it", what)
	}
	return refuse(media.ErrDecode, "%s: %v", what, err)
}

func boolInt(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

package av

/*
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asticode/go-astiav"

	"detections/media"
)

// pick chooses the video stream to decode: not a cover picture; the default one,
// else the largest, else the first. found is false if there is none so far.
func (d *decoder) pick() (found bool, err error) {
	best, score := -1, -1
	streams := d.fc.Streams()
	for i, st := range streams {
		p := st.CodecParameters()
		if p.MediaType() != astiav.MediaTypeVideo || d.decoderOf(p.CodecID()) == nil || C.det_is_cover(d.raw(), C.int(i)) != 0 {
			continue
		}
		s := p.Width() * p.Height()
		if C.det_is_default(d.raw(), C.int(i)) != 0 {
			s += 1 << 40
		}
		if d.info.Container == media.MP4 && st.NbFrames() == 0 && !d.walk.Fragmented(d.in.file) {
			s = 0 // its index is empty
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
	if int64(p.Width())*int64(p.Height()) > d.limits.Pixels {
		return true, refuse(media.ErrTooLarge, "%s", d.tooManyPixels(p.Width(), p.Height()))
	}
	d.chosen, d.stream, d.timeBase = true, best, streams[best].TimeBase()
	d.describe(streams[best])
	return true, d.checkDeclared(streams[best].NbFrames())
}

// openStream opens the decoder of the chosen stream, with its first packet: by then
// containers like FLV have told the parameters. Where several recordings are joined
// the codec may change midway.
func (d *decoder) openStream() error {
	p := d.fc.Streams()[d.stream].CodecParameters()
	if d.cc != nil {
		if p.CodecID() == d.codec || d.decoderOf(p.CodecID()) == nil {
			return nil
		}
		if err := d.drain(); err != nil {
			return err
		}
		d.cc.Free()
		d.cc = nil
	}
	return d.openCodec(p.CodecID(), p)
}

// openCodec opens a decoder; p, if there is one, says what the header says.
func (d *decoder) openCodec(id astiav.CodecID, p *astiav.CodecParameters) error {
	d.info.Codec, d.codec, d.lengths = id.Name(), id, 0
	d.restarts.opened()
	codec := d.decoderOf(id)
	if codec == nil {
		return refuse(media.ErrUnsupported, "%s is not a codec that is decoded here; %s", id.Name(), d.offered())
	}
	d.cc = astiav.AllocCodecContext(codec)
	if p != nil {
		if err := p.ToCodecContext(d.cc); err != nil {
			return d.because(err, "the "+d.info.Codec+" stream cannot be set up")
		}
		d.lengths = lengthsOf(id, p.ExtraData())
	}
	d.cc.SetTimeBase(d.timeBase)
	C.det_limit_codec((*C.AVCodecContext)(d.cc.UnsafePointer()), C.int64_t(d.limits.Pixels), boolInt(d.strict(id)))
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
	case us > 0 && us <= maxTime/1000:
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
		strings.Join(found, " and "), d.offered())
}

func (d *decoder) decoderOf(id astiav.CodecID) *astiav.Codec {
	if !slices.Contains(codecs, id) || !d.limits.Codec(id.Name()) {
		return nil
	}
	return astiav.FindDecoder(id)
}

// codecNames are the names of the codecs, or of the decoders, that are offered.
func (d *decoder) codecNames(name func(astiav.CodecID, *astiav.Codec) string) []string {
	var names []string
	for _, id := range codecs {
		if c := d.decoderOf(id); c != nil {
			names = append(names, name(id, c))
		}
	}
	return names
}

#include "shim.h"

#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "_cgo_export.h"

static __thread uintptr_t log_handle;
static __thread int64_t max_pixels;
static __thread int limit_hit;
static __thread unsigned hit_w, hit_h;

// astiav's own callback prints into 1024 bytes with vsprintf: a stack overflow that
// a stream can reach. This one is bounded.
static void det_log(void *ctx, int level, const char *fmt, va_list args)
{
	if (level > AV_LOG_ERROR)
		return;
	char line[256] = "";
	int prefix = 1;
	int n = av_log_format_line2(ctx, level, fmt, args, line, sizeof line, &prefix);
	// The log is the only place where limits are told from damage.
	unsigned w, h;
	const char *size = strstr(line, "Picture size ");
	if (size && sscanf(size, "Picture size %ux%u", &w, &h) == 2 && (int64_t)w * h > max_pixels) {
		limit_hit = DET_LIMIT_PIXELS;
		hit_w = w;
		hit_h = h;
	}
	if (strstr(fmt, "max_streams"))
		limit_hit = DET_LIMIT_STREAMS;
	if (n > 0 && log_handle)
		detLog(log_handle, line);
}

void det_setup(size_t max_alloc)
{
	av_max_alloc(max_alloc);
	av_log_set_level(AV_LOG_ERROR);
	av_log_set_callback(det_log);
}

void det_log_to(uintptr_t handle, int64_t pixels)
{
	log_handle = handle;
	max_pixels = pixels;
	limit_hit = DET_LIMIT_NONE;
}

int det_limit_hit(unsigned *w, unsigned *h)
{
	*w = hit_w;
	*h = hit_h;
	return limit_hit;
}

static int read_input(void *opaque, uint8_t *buf, int size)
{
	return detRead((uintptr_t)opaque, buf, size);
}

static int64_t seek_input(void *opaque, int64_t offset, int whence)
{
	return detSeek((uintptr_t)opaque, offset, whence);
}

int det_set_input(AVFormatContext *fc, uintptr_t handle, int buffer, int seek, int fill_in)
{
	uint8_t *b = av_malloc(buffer);
	if (!b)
		return AVERROR(ENOMEM);
	fc->pb = avio_alloc_context(b, buffer, 0, (void *)handle, read_input, NULL, seek == DET_SEEK_NOT ? NULL : seek_input);
	if (!fc->pb) {
		av_free(b);
		return AVERROR(ENOMEM);
	}
	// Without this a demuxer knows that it reads a stream; detSeek takes it back by
	// as little as a header, which may have left the buffer.
	fc->pb->seekable = seek == DET_SEEK_ANYWHERE ? AVIO_SEEKABLE_NORMAL : 0;
	fc->flags |= AVFMT_FLAG_CUSTOM_IO | (fill_in ? 0 : AVFMT_FLAG_NOFILLIN);
	return 0;
}

AVIOContext *det_input(AVFormatContext *fc) { return fc->pb; }

void det_free_input(AVFormatContext *fc, AVIOContext *pb)
{
	if (!pb)
		return;
	av_freep(&pb->buffer);
	avio_context_free(&pb);
}

int64_t det_tell(AVIOContext *pb) { return avio_tell(pb); }

int det_is_cover(AVFormatContext *fc, int stream)
{
	return !!(fc->streams[stream]->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS));
}

int det_is_default(AVFormatContext *fc, int stream)
{
	return !!(fc->streams[stream]->disposition & AV_DISPOSITION_DEFAULT);
}

void det_limit_codec(AVCodecContext *cc, int64_t max_pixels, int strict)
{
	cc->thread_count = 1;
	cc->max_pixels = max_pixels;
	cc->flags |= AV_CODEC_FLAG_COPY_OPAQUE;
	if (strict)
		cc->strict_std_compliance = FF_COMPLIANCE_STRICT;
}

void det_number_packet(AVPacket *p, int64_t number) { p->opaque = (void *)(intptr_t)number; }

int det_new_header(const AVPacket *p)
{
	return av_packet_get_side_data(p, AV_PKT_DATA_NEW_EXTRADATA, NULL) || av_packet_get_side_data(p, AV_PKT_DATA_PARAM_CHANGE, NULL);
}

// A slice (1 to 5) that is referred to has nal_ref_idc above 0 in its header.
static int is_reference(uint8_t h) { return (h & 0x1f) >= 1 && (h & 0x1f) <= 5 && (h & 0x60); }
static int is_slice(uint8_t h) { return (h & 0x1f) == 1; }

int det_disposable(const AVCodecContext *cc, const AVPacket *p)
{
	const uint8_t *b = p->data, *end = b + p->size;
	int slices = 0;
	if (cc->extradata_size > 4 && cc->extradata[0] == 1) { // units behind their length
		int n = (cc->extradata[4] & 3) + 1;
		while (end - b > n) {
			int64_t size = 0;
			for (int i = 0; i < n; i++)
				size = size << 8 | *b++;
			if (size < 1 || size > end - b || is_reference(*b))
				return 0;
			slices += is_slice(*b);
			b += size;
		}
		return slices > 0;
	}
	for (; end - b > 3; b++)
		if (!b[0] && !b[1] && b[2] == 1) {
			if (is_reference(b[3]))
				return 0;
			slices += is_slice(b[3]);
		}
	return slices > 0;
}

int64_t det_ns(int64_t t, AVRational time_base)
{
	if (t == AV_NOPTS_VALUE)
		return INT64_MIN;
	return av_rescale_q(t, time_base, (AVRational){ 1, 1000000000 });
}

void det_describe(const AVFrame *f, AVRational time_base, det_picture *out)
{
	out->ns = det_ns(f->pts, time_base);
	out->dur_ns = f->duration > 0 ? det_ns(f->duration, time_base) : 0;
	out->packet = (intptr_t)f->opaque;
	out->width = f->width;
	out->height = f->height;
	out->key = !!(f->flags & AV_FRAME_FLAG_KEY);
	out->intra = f->pict_type == AV_PICTURE_TYPE_I;
	out->interlaced = !!(f->flags & AV_FRAME_FLAG_INTERLACED);
	out->concealed = f->decode_error_flags != 0 || (f->flags & AV_FRAME_FLAG_CORRUPT);
	out->rotation = out->mirrored = 0;
	AVFrameSideData *sd = av_frame_get_side_data(f, AV_FRAME_DATA_DISPLAYMATRIX);
	if (sd && sd->size >= 9 * sizeof(int32_t)) {
		// (x, y) is shown at (ax + cy, bx + dy). Mirroring turns a and b around.
		const int32_t *m = (const int32_t *)sd->data;
		double a = m[0], b = m[1], c = m[3], d = m[4];
		out->rotation = ((int)lrint(atan2(-c, d) * 2 / M_PI) * 90 + 360) % 360;
		out->mirrored = a * d - b * c < 0;
	}
}

double det_aspect(AVFormatContext *fc, int stream, AVFrame *f)
{
	AVRational r = av_guess_sample_aspect_ratio(fc, fc->streams[stream], f);
	return r.den > 0 ? av_q2d(r) : 0;
}

#include "shim.h"

#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <string.h>

// swscale stores whole vector registers; rectangles whose width is a multiple of
// this are written in place, others through scratch memory.
#define LANES 16

struct det_scaler {
	struct SwsContext *sws;
	// What sws was made for.
	int sw, sh, dw, dh, full, matrix;
	enum AVPixelFormat from;

	uint8_t *scratch;
	size_t scratch_size;
};

det_scaler *det_scaler_new(void) { return av_mallocz(sizeof(det_scaler)); }

void det_scaler_free(det_scaler *s)
{
	if (!s)
		return;
	sws_freeContext(s->sws);
	av_free(s->scratch);
	av_free(s);
}

// Which matrix turns the picture into RGB. Streams that do not say are taken as
// browsers take them: BT.601 below 720 lines, BT.709 from there on.
static int matrix_of(const AVFrame *f)
{
	switch (f->colorspace) {
	case AVCOL_SPC_BT709: return SWS_CS_ITU709;
	case AVCOL_SPC_FCC: return SWS_CS_FCC;
	case AVCOL_SPC_BT470BG:
	case AVCOL_SPC_SMPTE170M: return SWS_CS_ITU601;
	case AVCOL_SPC_SMPTE240M: return SWS_CS_SMPTE240M;
	case AVCOL_SPC_BT2020_NCL:
	case AVCOL_SPC_BT2020_CL: return SWS_CS_BT2020;
	default: return f->height < 720 ? SWS_CS_ITU601 : SWS_CS_ITU709;
	}
}

static int prepare(det_scaler *s, const AVFrame *f, int dw, int dh)
{
	int full = f->color_range == AVCOL_RANGE_JPEG;
	int matrix = matrix_of(f);
	if (s->sws && s->sw == f->width && s->sh == f->height && s->from == f->format && s->dw == dw &&
	    s->dh == dh && s->full == full && s->matrix == matrix)
		return 0;
	sws_freeContext(s->sws);
	s->sws = sws_alloc_context();
	if (!s->sws)
		return AVERROR(ENOMEM);
	av_opt_set_int(s->sws, "srcw", f->width, 0);
	av_opt_set_int(s->sws, "srch", f->height, 0);
	av_opt_set_int(s->sws, "src_format", f->format, 0);
	av_opt_set_int(s->sws, "src_range", full, 0);
	av_opt_set_int(s->sws, "dstw", dw, 0);
	av_opt_set_int(s->sws, "dsth", dh, 0);
	av_opt_set_int(s->sws, "dst_format", AV_PIX_FMT_BGR24, 0);
	av_opt_set_int(s->sws, "sws_flags", SWS_BILINEAR, 0);
	int err = sws_init_context(s->sws, NULL, NULL);
	if (err < 0) {
		sws_freeContext(s->sws);
		s->sws = NULL;
		return err;
	}
	// Yields an error for pictures that are RGB already: nothing to set there.
	sws_setColorspaceDetails(s->sws, sws_getCoefficients(matrix), full,
		sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
	s->sw = f->width, s->sh = f->height, s->from = f->format;
	s->dw = dw, s->dh = dh, s->full = full, s->matrix = matrix;
	return 0;
}

// copy_turned turns a packed picture of 3-byte pixels clockwise, after mirroring it
// if need be; w x h is the size that it has then.
static void copy_turned(const uint8_t *src, int src_stride, int turn, uint8_t *dst, int stride, int w, int h)
{
	static const int cosine[4] = { 1, 0, -1, 0 }, sine[4] = { 0, 1, 0, -1 };
	int quarters = turn / 90 % 4, flip = turn >= DET_MIRRORED ? -1 : 1;
	// Which pixels of src lie one to the right, and one below, in dst.
	ptrdiff_t right = 3 * flip * cosine[quarters] - (ptrdiff_t)src_stride * sine[quarters];
	ptrdiff_t below = 3 * flip * sine[quarters] + (ptrdiff_t)src_stride * cosine[quarters];
	if (right < 0)
		src -= right * (w - 1);
	if (below < 0)
		src -= below * (h - 1);
	for (int y = 0; y < h; y++, src += below) {
		uint8_t *d = dst + (ptrdiff_t)y * stride;
		const uint8_t *p = src;
		if (right == 3) {
			memcpy(d, p, (size_t)w * 3);
			continue;
		}
		for (int x = 0; x < w; x++, d += 3, p += right)
			d[0] = p[0], d[1] = p[1], d[2] = p[2];
	}
}

// swap_red_blue turns BGR into RGB. swscale has vector code for BGR only: this and
// that take half the time of scaling to RGB.
static void swap_red_blue(uint8_t *dst, int stride, int w, int h)
{
	for (int y = 0; y < h; y++, dst += stride)
		for (uint8_t *p = dst, *end = dst + w * 3; p < end; p += 3) {
			uint8_t b = p[0];
			p[0] = p[2];
			p[2] = b;
		}
}

int det_scale(det_scaler *s, const AVFrame *f, int turn, int rgb,
	uint8_t *dst, int stride, int w, int h)
{
	int turned = turn / 90 % 2;
	int sw = turned ? h : w, sh = turned ? w : h;
	int err = prepare(s, f, sw, sh);
	if (err < 0)
		return err;
	int direct = turn == 0 && w % LANES == 0;
	uint8_t *out = dst;
	int out_stride = stride;
	if (!direct) {
		out_stride = FFALIGN(sw * 3, 64) + 64;
		size_t need = (size_t)out_stride * sh + 64;
		if (need > s->scratch_size) {
			av_free(s->scratch);
			s->scratch_size = 0;
			if (!(s->scratch = av_malloc(need)))
				return AVERROR(ENOMEM);
			s->scratch_size = need;
		}
		out = s->scratch;
	}
	uint8_t *planes[4] = { out };
	int strides[4] = { out_stride };
	err = sws_scale(s->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height, planes, strides);
	if (err < 0)
		return err;
	if (!direct)
		copy_turned(out, out_stride, turn, dst, stride, w, h);
	if (rgb)
		swap_red_blue(dst, stride, w, h);
	return 0;
}

#ifndef DETECTIONS_AV_SHIM_H
#define DETECTIONS_AV_SHIM_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdint.h>

// What go-astiav has no door for. Nothing here keeps state of its own except the
// scaler and the calling thread's log flags.

// Process-wide limits and the log callback; done once.
void det_setup(size_t max_alloc);

// The job whose log lines come from the calling thread, 0: none, and the largest
// coded picture that it decodes.
void det_log_to(uintptr_t handle, int64_t max_pixels);

// Which limit was hit on this thread, and by a picture of which size.
enum { DET_LIMIT_NONE, DET_LIMIT_PIXELS, DET_LIMIT_STREAMS };
int det_limit_hit(unsigned *w, unsigned *h);

// Gives the format context an input that calls detRead (and detSeek). fill_in lets
// the demuxer infer times that the container does not have.
int det_set_input(AVFormatContext *fc, uintptr_t handle, int buffer, int seek, int fill_in);
enum { DET_SEEK_NOT, DET_SEEK_BACK, DET_SEEK_ANYWHERE };
void det_free_input(AVFormatContext *fc, AVIOContext *pb);
AVIOContext *det_input(AVFormatContext *fc);
int64_t det_tell(AVIOContext *pb);

// The stream's AV_DISPOSITION bits say that it is a cover or preview picture.
int det_is_cover(AVFormatContext *fc, int stream);
int det_is_default(AVFormatContext *fc, int stream);

// Sets up limits and packet numbering of a decoder before it is opened.
void det_limit_codec(AVCodecContext *cc, int64_t max_pixels, int strict);
void det_number_packet(AVPacket *p, int64_t number);

// Whether a packet brings another header than the stream's.
int det_new_header(const AVPacket *p);

// Whether an H.264 packet holds a picture to which no other refers.
int det_disposable(const AVCodecContext *cc, const AVPacket *p);

// What a decoded picture says of itself.
typedef struct {
	int64_t ns;      // presentation time, INT64_MIN: none
	int64_t dur_ns;  // 0: unknown
	int64_t packet;  // number of the packet that it came from
	int width, height; // as coded, before rotation
	int key, interlaced;
	int intra;     // it needs no other picture
	int concealed; // parts of it were lost
	int rotation; // degrees clockwise
	int mirrored; // left and right, before it is turned
} det_picture;

void det_describe(const AVFrame *f, AVRational time_base, det_picture *out);
int64_t det_ns(int64_t t, AVRational time_base);

// The width of a pixel divided by its height; 0: not known.
double det_aspect(AVFormatContext *fc, int stream, AVFrame *f);

// A scaler keeps swscale's context for as long as nothing changes.
typedef struct det_scaler det_scaler;
det_scaler *det_scaler_new(void);
void det_scaler_free(det_scaler *s);

// Added to a number of degrees: mirror left and right first.
#define DET_MIRRORED 360

// Scales the whole picture to w x h BGR (or RGB) pixels at dst, turning it clockwise.
// Nothing outside the w x h rectangle is written.
int det_scale(det_scaler *s, const AVFrame *f, int turn, int rgb,
	uint8_t *dst, int stride, int w, int h);

#endif

// Package av is what runs inside a decoder process: it demuxes, decodes and scales
// with FFmpeg.
//
// [Decode] is a media.Loop: cmd gives it to the worker package, which runs it in a
// sandboxed process. [Open] runs the same loop in this process, for benchmarks and
// tests only: it parses hostile bytes in C.
//
//	spool ─ pread ─► input ─► demuxer ─► decoder ─► Picker ─► scaler ─► slot
//	                (waits)   format      1 thread   pts only   writes into the
//	                          is given,              and count  view's rectangle
//	                          no probing
//
// Input is read as a stream that cannot seek, so that the first picture comes out
// with the byte that completes it. The one exception is an MP4 file whose index is
// behind its media data.
package av

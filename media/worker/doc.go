// Package worker is the parent's side of decoder processes: it starts, feeds,
// watches and ends them, and reads their frames. The other end of its protocol,
// [Child], is here too, so that the two cannot drift.
//
//	Pool.Start ──job, input fd, ring fd──►┐
//	Grow, Configure, Release ──feed──────►│ process: Child runs a media.Loop
//	Next ◄──frame, rule, note, end────────┘          (media/av.Decode)
//	        pixels: sealed memory, mapped read-only here
//
// One process serves one job and is never used again. Everything is said over a
// SOCK_SEQPACKET socket each way, file descriptors 3 and 4 of the process.
//
// The one rule: whatever comes out of the process is hostile. Numbers are checked
// against what only the parent knows, a lie ends the process, and the pixels are
// the only bytes that pass unread.
package worker

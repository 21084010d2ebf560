// Package media describes encoded and decoded video: frames, views, sampling,
// and the rules of who owns them.
//
// A [Decoder] turns the growing bytes of one input into picked frames. Every
// decoded picture has a 0-based index in presentation order; a [Sample] rule
// picks some of them; each picked one is scaled into the [View]s that were asked
// for and handed over as a [Frame].
//
// The one rule: a Frame has exactly one owner at a time, and the owner calls
// Release exactly once. Its pixels live in memory shared with the decoder process
// and are gone after Release; its [FrameInfo] is a plain value and outlives them.
package media

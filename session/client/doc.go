// Package client sends media to a hub and hands back what is found in it.
//
// [Client.Detect] starts a session on the hub and returns while the media is still
// being read; [Session.Events] yields the hub's messages as they come, typed. What
// goes wrong on the way is the client's affair: a connection that is lost is
// opened again with growing, random delays, the upload goes on from the byte that
// the hub has, and every event is yielded exactly once. The caller sees [Lost] and
// [Resumed] among the events, and an error only when nothing more can be done.
//
// Bytes are kept until the hub acknowledges them, so any io.Reader can be sent,
// and at most the hub's window of them; if the hub is slower than the media, reading
// the media waits. If the caller is slower than the hub, the hub waits.
//
// A session has one goroutine that runs it, one that reads the media, and per
// connection one that sends bytes and one that sends words; [Session.Close] waits
// for all of them.
package client

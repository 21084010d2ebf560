// Package wire encodes and decodes everything a client and the hub say to each other.
//
// A numbered message is an [Event] of a session's timeline: it is encoded once,
// when it is appended, and every door (WebSocket, SSE, NDJSON) sends the same
// bytes. All other messages concern one connection or one moment and are never
// replayed. Unknown fields are ignored by both sides; an unknown type is an error
// when a client says it and is to be ignored when the hub does.
//
// Boxes are [x, y, width, height] in source pixels after rotation, origin top
// left. Times are milliseconds with three decimals.
package wire

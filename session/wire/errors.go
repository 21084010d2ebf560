package wire

import (
	"errors"
	"fmt"
)

// Code names a failure. It is the same on every door.
type Code string

// The codes.
const (
	BadMessage        Code = "bad_message"
	Unauthorized      Code = "unauthorized"
	Forbidden         Code = "forbidden"
	UnknownSession    Code = "unknown_session"
	UnknownMedia      Code = "unknown_media"
	Conflict          Code = "conflict"
	TooLarge          Code = "too_large"
	UnsupportedMedia  Code = "unsupported_media"
	DecodeFailed      Code = "decode_failed"
	DecodeStalled     Code = "decode_stalled"
	HashMismatch      Code = "hash_mismatch"
	BadModel          Code = "bad_model"
	UploadIncomplete  Code = "upload_incomplete"
	Quota             Code = "quota"
	HeartbeatLost     Code = "heartbeat_lost"
	Replaced          Code = "replaced"
	Overloaded        Code = "overloaded"
	StorageFull       Code = "storage_full"
	EngineUnavailable Code = "engine_unavailable"
	NotOffered        Code = "not_offered"
	Draining          Code = "draining"
	Internal          Code = "internal"
)

// ErrorInfo is one row of the table of errors.
type ErrorInfo struct {
	Code Code
	// HTTP is the status on HTTP doors; 0: cannot happen there.
	HTTP int
	// Close is the WebSocket close code: 4000–4499 mean come back and resume,
	// 4500–4999 do not. 0: the connection is not closed for it.
	Close int
	// Temporary: the same request may succeed later.
	Temporary bool
	Meaning   string
}

// Errors is the table of all codes, in the order of the documentation.
var Errors = []ErrorInfo{
	{BadMessage, 400, 4504, false, "A message or request that breaks the protocol: not JSON, an unknown type, a field out of range, bytes where none are expected."},
	{Unauthorized, 401, 4500, false, "No token, or one that is not valid."},
	{Forbidden, 403, 4500, false, "The caller may not do this: foreign origin, foreign host name, somebody else's session."},
	{UnknownSession, 404, 4505, false, "There is no such session (any more), or it is not the caller's."},
	{UnknownMedia, 404, 0, false, "There is no such media: the Annotations service does not have it, or the caller has no session of it (any more)."},
	{Conflict, 409, 4506, false, "The session's state does not allow this, for example feeding one that has ended."},
	{TooLarge, 413, 1009, false, "A message, body or picture above its limit."},
	{UnsupportedMedia, 415, 4501, false, "The bytes are not a container and codec that is offered. The message names what was found."},
	{DecodeFailed, 422, 4502, false, "The format was recognised, but no picture could be decoded, or the decoder process died."},
	{DecodeStalled, 422, 4502, false, "The decoder made no progress although it had input, and was stopped."},
	{HashMismatch, 422, 4502, false, "The SHA-256 of the received bytes is not the one that was declared."},
	{BadModel, 422, 0, false, "The version of the model that was asked for cannot be used. What served before goes on."},
	{UploadIncomplete, 400, 0, false, "The body or connection ended before the media did. Results so far are kept."},
	{Quota, 429, 4503, true, "A limit of this client is used up: sessions, bytes beyond the window, requests."},
	{HeartbeatLost, 0, 4002, true, "Nothing was heard from the client for three heartbeats."},
	{Replaced, 0, 4507, false, "Another connection took over as the session's feeder."},
	{Overloaded, 503, 4003, true, "There is no capacity for this now. Retry-After says when to try again."},
	{StorageFull, 503, 4003, true, "The hub's disk or its quota is full. Nothing that was acknowledged is lost."},
	{EngineUnavailable, 503, 4003, true, "No inference engine is ready."},
	{NotOffered, 501, 0, false, "This hub does not do that: it was switched off, or could not be started."},
	{Draining, 503, 1001, true, "The hub is shutting down. Come back: another instance or the next start takes over."},
	{Internal, 500, 1011, true, "A fault in the hub. Its log has the details under the session's id."},
}

// Info is the table's row for a code; an unknown code is Internal.
func (c Code) Info() ErrorInfo {
	for _, e := range Errors {
		if e.Code == c {
			return e
		}
	}
	return Internal.Info()
}

// Error is a failure in words for the client.
type Error struct {
	Code    Code
	Message string
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error. The message says what was expected, what was found, and what to do.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// AsError gives the *Error inside err, or an Internal one that hides err's words.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Internal, "internal error; the hub's log has the details"}
}

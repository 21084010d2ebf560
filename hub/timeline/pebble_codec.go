package timeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"detections/session/wire"
)

// The schema of what is stored. A minor step adds what the version before can skip:
// fields with a new tag, more bytes in a record's header, keys of a new kind. All
// else is a major step, and a program refuses a store with a major it does not know.
const schemaMajor = 1

// Kinds of keys, their first byte. What follows is the length of the session's id
// (one byte) and the id, and for a record its offset (8 bytes, big endian), so that a
// timeline is one range of keys, in order.
const (
	keySchema byte = 0x01
	keyMeta   byte = 'm'
	keyState  byte = 's'
	keyRecord byte = 'r'
)

// maxID is the longest session id, in bytes.
const maxID = 255

var errCorrupt = errors.New("corrupt entry")

func appendKey(b []byte, kind byte, id string) []byte {
	b = append(b, kind, byte(len(id)))
	return append(b, id...)
}

func appendRecordKey(b []byte, id string, offset uint64) []byte {
	return binary.BigEndian.AppendUint64(appendKey(b, keyRecord, id), offset)
}

func recordKeyLen(id string) int { return 2 + len(id) + 8 }

// keyID is the session of a meta or state key.
func keyID(key []byte) string {
	if len(key) < 2 {
		return ""
	}
	return string(key[2:])
}

// Codes of the event types that a timeline has; another type is spelled out.
var typeCodes = [...]wire.Type{0: "", 1: wire.TypeConfigured, 2: wire.TypeDetections, 3: wire.TypeEnd, 4: wire.TypeSegment}

const flagEmpty = 1

// A record is the length of its header (one byte), the header, the message and the
// replay. The header is the type's code, flags, the bytes of all records up to this
// one, the length of the message, and for code 0 the type's length and name; what a
// later minor version adds comes behind.
const (
	maxType   = 64 // bytes
	maxHeader = 1 + 1 + 1 + 2*binary.MaxVarintLen64 + 1 + maxType + len(nextHeader)
)

// appendHeader writes a record's header; total is Status.Bytes with this record.
func appendHeader(b []byte, r *Record, total int64) []byte {
	start := len(b)
	b = append(b, 0, 0, 0)
	for code, t := range typeCodes {
		if code > 0 && r.Type == t {
			b[start+1] = byte(code)
		}
	}
	if r.Empty {
		b[start+2] |= flagEmpty
	}
	b = binary.AppendUvarint(b, uint64(total))
	b = binary.AppendUvarint(b, uint64(len(r.Message)))
	if b[start+1] == 0 {
		b = append(b, byte(len(r.Type)))
		b = append(b, r.Type...)
	}
	b = append(b, nextHeader...)
	b[start] = byte(len(b) - start - 1)
	return b
}

// parseRecord reads a record, which keeps v, and Status.Bytes as of it.
func parseRecord(offset uint64, v []byte) (r Record, total int64, err error) {
	if len(v) == 0 || len(v) < 1+int(v[0]) || v[0] < 4 {
		return r, 0, fmt.Errorf("record %d: %w", offset, errCorrupt)
	}
	h, body := v[1:1+v[0]], v[1+v[0]:]
	code, flags, h := h[0], h[1], h[2:]
	sum, n := binary.Uvarint(h)
	size, m := binary.Uvarint(h[max(0, n):])
	if n <= 0 || m <= 0 || size > uint64(len(body)) || int(code) >= len(typeCodes) {
		return r, 0, fmt.Errorf("record %d: %w", offset, errCorrupt)
	}
	r.Offset, r.Type, r.Empty = offset, typeCodes[code], flags&flagEmpty != 0
	if h = h[n+m:]; code == 0 {
		if len(h) == 0 || len(h) < 1+int(h[0]) {
			return r, 0, fmt.Errorf("record %d: %w", offset, errCorrupt)
		}
		r.Type = wire.Type(h[1 : 1+h[0]])
	}
	r.Message, r.Replay = body[:size:size], body[size:]
	return r, int64(sum), nil
}

// Meta and state are fields: a tag, a length, a value.
const (
	tagPrincipal = iota + 1
	tagEpoch
	tagCreated
	tagStart
)

const (
	tagTerm = iota + 1
	tagInput
	tagFinal
	tagDelivered
)

func appendField[T string | []byte](b []byte, tag byte, v T) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendNumber(b []byte, tag byte, v uint64) []byte {
	var n [binary.MaxVarintLen64]byte
	return appendField(b, tag, binary.AppendUvarint(n[:0], v))
}

// fields yields tags and values; err says whether all of b could be read.
func fields(b []byte, err *error) iter.Seq2[byte, []byte] {
	return func(yield func(byte, []byte) bool) {
		for len(b) > 0 {
			size, n := binary.Uvarint(b[1:])
			if n <= 0 || size > uint64(len(b)-1-n) {
				*err = errCorrupt
				return
			}
			v := b[1+n : 1+n+int(size)]
			if !yield(b[0], v) {
				return
			}
			b = b[1+n+int(size):]
		}
	}
}

func appendMeta(b []byte, m *Meta) []byte {
	b = appendField(b, tagPrincipal, m.Principal)
	b = appendField(b, tagEpoch, m.Epoch)
	at := binary.AppendVarint(nil, m.Created.Unix())
	b = appendField(b, tagCreated, binary.AppendUvarint(at, uint64(m.Created.Nanosecond())))
	return appendField(b, tagStart, m.Start)
}

func parseMeta(id string, b []byte) (Meta, error) {
	m := Meta{ID: id}
	var err error
	for tag, v := range fields(b, &err) {
		switch tag {
		case tagPrincipal:
			m.Principal = string(v)
		case tagEpoch:
			m.Epoch = string(v)
		case tagCreated:
			sec, n := binary.Varint(v)
			nsec, _ := binary.Uvarint(v[max(0, n):])
			m.Created = time.Unix(sec, int64(nsec)).UTC()
		case tagStart:
			m.Start = append([]byte(nil), v...)
		}
	}
	if err != nil {
		err = fmt.Errorf("description of session %s: %w", id, err)
	}
	return m, err
}

// appendState writes what is not in the records; extra are fields of a later minor
// version, kept for the program that wrote them.
func appendState(b []byte, st *Status, extra []byte) []byte {
	b = appendNumber(b, tagTerm, st.Term)
	b = appendNumber(b, tagInput, uint64(st.Input.Bytes))
	if st.Input.Final {
		b = appendNumber(b, tagFinal, 1)
	}
	b = appendNumber(b, tagDelivered, st.Delivered)
	if nextState != "" && !strings.Contains(string(extra), nextState) {
		b = append(b, nextState...)
	}
	return append(b, extra...)
}

func parseState(st *Status, b []byte) (extra []byte, err error) {
	for tag, v := range fields(b, &err) {
		n, _ := binary.Uvarint(v)
		switch tag {
		case tagTerm:
			st.Term = n
		case tagInput:
			st.Input.Bytes = int64(n)
		case tagFinal:
			st.Input.Final = n != 0
		case tagDelivered:
			st.Delivered = n
		default:
			extra = appendField(extra, tag, v)
		}
	}
	if err != nil {
		err = fmt.Errorf("state of session %s: %w", st.ID, err)
	}
	return extra, err
}

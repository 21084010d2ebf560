package outbox

import (
	"context"
	"encoding/json"
	"fmt"

	"detections/session/wire"
)

// request is the body of POST /annotations.
type request struct {
	Session     string            `json:"session"`
	Epoch       string            `json:"epoch,omitempty"`
	Principal   string            `json:"principal,omitempty"`
	MediaID     string            `json:"media_id,omitempty"`
	MediaName   string            `json:"media_name,omitempty"`
	MediaSHA256 string            `json:"media_sha256,omitempty"`
	Events      []json.RawMessage `json:"events"`
}

// Limits of one turn of a session, beside Config.Batch and Config.Bytes.
const (
	page  = 256 // events that are read at a time
	pages = 16  // how often, when the events are of a kind that is not delivered
)

// overhead is what an event's key takes, in bytes, about.
const overhead = 128

// batch is what one request delivers.
type batch struct {
	events []item // to be delivered
	bytes  int    // of them, about
	next   uint64 // the cursor when they are
}

// wanted says whether an event is delivered at all.
func (o *Outbox) wanted(e wire.Event) bool {
	return o.cfg.Results == wire.All || e.Type == wire.TypeEnd || e.Type == wire.TypeDetections && !e.Empty
}

// collect reads what a session's next request delivers: at most limit events.
func (o *Outbox) collect(ctx context.Context, s *session, limit int) (batch, error) {
	b := batch{next: s.cursor}
	for range pages {
		events, err := o.cfg.Source.Read(ctx, s.id, b.next, page)
		if err != nil {
			return b, fmt.Errorf("read events: %w", err)
		}
		for _, e := range events {
			if o.wanted(e) {
				if len(b.events) == limit {
					return b, nil
				}
				one, err := o.picture(ctx, s, e)
				if err != nil && len(b.events) == 0 {
					return b, fmt.Errorf("picture of event %d: %w", e.Offset, err)
				}
				if err != nil || len(b.events) > 0 && b.bytes+one.size() > o.cfg.Bytes {
					return b, nil
				}
				b.events = append(b.events, one)
				b.bytes += one.size()
			}
			b.next = e.Offset
		}
		if len(events) < page {
			break
		}
	}
	return b, nil
}

// key identifies an event wherever and however often it is delivered.
func key(s *Session, offset uint64) string {
	if s.Epoch == "" {
		return fmt.Sprintf("%s:%d", s.ID, offset)
	}
	return fmt.Sprintf("%s:%s:%d", s.ID, s.Epoch, offset)
}

// name is the Idempotency-Key of a request: the same for the same events. One event's
// is its key.
func name(s *Session, events []item) string {
	first, last := events[0].Offset, events[len(events)-1].Offset
	if first == last {
		return key(s, first)
	}
	return fmt.Sprintf("%s-%d", key(s, first), last)
}

// encode gives the body of the request that delivers events. An event is what every
// door shows of it, with its key in front and its picture at the end.
func encode(s *Session, events []item) []byte {
	r := request{
		Session: s.ID, Epoch: s.Epoch, Principal: s.Principal,
		MediaID: s.MediaID, MediaName: s.MediaName, MediaSHA256: s.MediaSHA256,
	}
	for _, e := range events {
		one := append([]byte(`{"key":`), wire.Encode(key(s, e.Offset))...)
		one = append(append(one, ','), e.Message[1:]...)
		if e.picture != nil {
			one = append(append(append(one[:len(one)-1], `,"picture":`...), e.picture...), '}')
		}
		r.Events = append(r.Events, one)
		if e.Type == wire.TypeEnd && r.MediaSHA256 == "" {
			r.MediaSHA256 = sha256Of(e.Event)
		}
	}
	return wire.Encode(r)
}

// sha256Of is the media's hash that an end event tells.
func sha256Of(e wire.Event) string {
	var end wire.End
	_ = json.Unmarshal(e.Message, &end) // the hub's own; without one there is no hash
	return end.MediaSHA256
}

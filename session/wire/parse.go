package wire

import (
	"encoding/json"
	"fmt"
)

// HubMessage is one of *Started, *Ack, *Detections, *Configured, *Segment, *End,
// *Progress, *State, *ErrorMessage, *GoAway, *Pong.
type HubMessage interface{ fromHub() }

func (*Started) fromHub()      {}
func (*Ack) fromHub()          {}
func (*Detections) fromHub()   {}
func (*Configured) fromHub()   {}
func (*Segment) fromHub()      {}
func (*End) fromHub()          {}
func (*Progress) fromHub()     {}
func (*State) fromHub()        {}
func (*ErrorMessage) fromHub() {}
func (*GoAway) fromHub()       {}
func (*Pong) fromHub()         {}

// ParseHub decodes a message from the hub. Of a type that this version does not
// know it returns nil and no error: such messages are to be ignored.
func ParseHub(text []byte) (HubMessage, error) {
	var head struct {
		Type Type `json:"type"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("message from the hub: %w", err)
	}
	m := newHubMessage(head.Type)
	if m == nil {
		return nil, nil
	}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("message from the hub of type %s: %w", head.Type, err)
	}
	return m, nil
}

func newHubMessage(t Type) HubMessage {
	switch t {
	case TypeStarted:
		return &Started{}
	case TypeAck:
		return &Ack{}
	case TypeDetections:
		return &Detections{}
	case TypeConfigured:
		return &Configured{}
	case TypeSegment:
		return &Segment{}
	case TypeEnd:
		return &End{}
	case TypeProgress:
		return &Progress{}
	case TypeState:
		return &State{}
	case TypeError:
		return &ErrorMessage{}
	case TypeGoAway:
		return &GoAway{}
	case TypePong:
		return &Pong{}
	default:
		return nil
	}
}

// EncodeClient gives the JSON of a client's message, with its type.
func EncodeClient(m ClientMessage) []byte {
	switch m := m.(type) {
	case *Start:
		return typed("start", m)
	case *Resume:
		return typed("resume", m)
	case *Watch:
		return typed("watch", m)
	case *Configure:
		return typed("configure", m)
	case *Ping:
		return typed("ping", m)
	case *NextPicture:
		return typed("picture", m)
	case EOF:
		return []byte(`{"type":"eof"}`)
	case Cancel:
		return []byte(`{"type":"cancel"}`)
	default:
		panic(fmt.Sprintf("wire: %T is not a message of a client", m))
	}
}

// typed puts the type in front of an object's fields.
func typed(name string, m any) []byte {
	body := Encode(m)
	out := append([]byte(`{"type":"`), name...)
	out = append(out, '"')
	if len(body) > 2 {
		out = append(out, ',')
	}
	return append(out, body[1:]...)
}

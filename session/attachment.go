package session

import "detections/session/wire"

// Attachment is one connection's hold on a session. Whoever got it closes the
// Reader, and lets the Feeder go by EOF, CutOff or Detach.
type Attachment struct {
	Session *Session
	Feeder  *Feeder // nil: read only
	Reader  Reader
	Started wire.Started
	Results wire.Results
}

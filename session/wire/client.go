package wire

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"detections/media"
)

// Subprotocol is the WebSocket subprotocol and the name of the data channel.
const Subprotocol = "detections.v1"

// Limits of what a client may say.
const (
	MaxKey         = 128                  // bytes of an idempotency key
	MaxName        = 255                  // bytes of a media name or id
	MaxLabels      = 1000                 // labels in one filter
	MinHeartbeat   = 1_000                // ms
	MaxHeartbeat   = 120_000              // ms
	DefaultBeat    = 20_000               // ms
	DefaultBudget  = 1_000                // ms
	MaxBudget      = 60_000               // ms
	MaxExpires     = 10 * 366 * 24 * 3600 // s
	MaxControlSize = 64 << 10
)

// Mode is how a session treats frames when the engine is slower than the input.
type Mode string

// The modes.
const (
	File Mode = "file" // lossless: every sampled frame is inferred, the client waits
	Live Mode = "live" // fresh: the newest frame is inferred, older ones are dropped and counted
)

// Results says which results a reader is sent.
type Results string

// The choices of a reader.
const (
	All      Results = "all"
	NonEmpty Results = "nonempty"
)

// ClientMessage is one of Start, Resume, Watch, NextPicture, EOF, Configure, Cancel, Ping.
type ClientMessage interface{ Validate() error }

// Start begins a new session.
type Start struct {
	// Key makes the start idempotent: the same key from the same principal
	// attaches to the session that it started before. Empty: always a new one.
	Key   string `json:"key,omitempty"`
	Media Media  `json:"media,omitzero"`
	// Mode defaults to "file".
	Mode   Mode    `json:"mode,omitempty"`
	Sample *Sample `json:"sample,omitempty"`
	Detect *Detect `json:"detect,omitempty"`
	// Track numbers objects: the same one has the same number in every frame.
	Track bool `json:"track,omitempty"`
	// Results defaults to "all".
	Results Results `json:"results,omitempty"`
	// BudgetMS is the age, in ms, above which a live frame is dropped: 1 to 60000, default 1000.
	BudgetMS int `json:"budget_ms,omitempty"`
	// HeartbeatMS is how often the hub pings, 1000 to 120000, default 20000; a
	// peer is lost after three without any frame.
	HeartbeatMS int `json:"heartbeat_ms,omitempty"`
	// ExpiresS is how long the results are kept after the end, in seconds: 1 or more,
	// at most and by default as long as the hub keeps any.
	ExpiresS int64 `json:"expires_s,omitempty"`
}

// TakesUnits says whether the input is access units that a door cuts out: what comes
// over WebRTC, and JPEG pictures one by one. The bytes of other inputs know best
// themselves where a picture begins.
func (m *Start) TakesUnits() bool {
	return m.Mode == Live && (m.Media.Container == media.Units || m.Media.Container == media.JPEG)
}

// Media describes what is about to be sent. Every field is optional.
type Media struct {
	Name string `json:"name,omitempty"` // a file name, for humans
	Size int64  `json:"size,omitempty"` // bytes, for percent and ETA
	// SHA256 in hex is checked when all bytes have arrived.
	SHA256 string `json:"sha256,omitempty"`
	// Container names the format when the bytes do not tell (raw streams).
	Container string `json:"container,omitempty"`
	// FPS is the frame rate of a raw stream without time stamps, default 25.
	FPS float64 `json:"fps,omitempty"`
	// ID is the media id of the Annotations service.
	ID string `json:"id,omitempty"`
}

// Sample says which decoded frames are inferred: one of the fields.
type Sample struct {
	FPS   float64 `json:"fps,omitempty"`   // at most so many per second of media time, above 0 to 1000
	Every int     `json:"every,omitempty"` // each n-th frame, 1 to 1000000
	All   bool    `json:"all,omitempty"`   // every frame (the default)
}

// Rule converts it to the rule that decoders follow.
func (s *Sample) Rule() media.Sample {
	if s == nil {
		return media.Sample{}
	}
	return media.Sample{FPS: s.FPS, Every: s.Every}
}

// Detect says what counts as a detection. Absent fields keep their value.
type Detect struct {
	Threshold *float64 `json:"threshold,omitempty"` // lowest confidence, 0.01 to 1, default 0.45
	IoU       *float64 `json:"iou,omitempty"`       // overlap above which two boxes of a class are one, 0 to 1, default 0.5
	Labels    []string `json:"labels,omitempty"`    // only these; empty: all
}

// MinThreshold bounds the number of candidates a client can ask for.
const MinThreshold = 0.01

// Resume comes back as a session's feeder, after the event with this offset.
type Resume struct {
	Session string  `json:"session"`
	Token   string  `json:"token"`
	Epoch   string  `json:"epoch"`
	Offset  uint64  `json:"offset"`
	Results Results `json:"results,omitempty"`
	// Overlap is a part of the media that the hub has: if it has other bytes there, the
	// client is about to go on with other media.
	Overlap *Overlap `json:"overlap,omitempty"`
}

// Overlap is a part of a session's media, as a client has it.
type Overlap struct {
	From   int64  `json:"from"`
	Bytes  int64  `json:"bytes"`  // 1 to MaxOverlap
	SHA256 string `json:"sha256"` // of them, in hex
}

// MaxOverlap is how many bytes of an Overlap are compared at most.
const MaxOverlap = 4 << 20

func (o *Overlap) validate() error {
	switch {
	case o == nil:
		return nil
	case o.From < 0 || o.Bytes < 1 || o.Bytes > MaxOverlap || o.From+o.Bytes < 0:
		return fmt.Errorf("overlap: expected 1 to %d bytes from a byte that is not negative, got %d from %d", MaxOverlap, o.Bytes, o.From)
	}
	return validSHA256("overlap.sha256", o.SHA256)
}

// Watch attaches as a reader, after the event with this offset.
type Watch struct {
	Session string  `json:"session"`
	Epoch   string  `json:"epoch,omitempty"`
	Offset  uint64  `json:"offset"`
	Results Results `json:"results,omitempty"`
}

// NextPicture announces the next binary message of a live session of JPEG pictures.
type NextPicture struct {
	ClientTS *float64 `json:"client_ts,omitempty"` // ms, by any clock of the client; comes back with the result
	Seq      *int64   `json:"seq,omitempty"`       // comes back with the result
}

// EOF says that all bytes were sent.
type EOF struct{}

// Configure changes a running session; absent fields keep their value.
type Configure struct {
	ID      string  `json:"id,omitempty"` // comes back in the configured event
	Sample  *Sample `json:"sample,omitempty"`
	Detect  *Detect `json:"detect,omitempty"`
	Track   *bool   `json:"track,omitempty"`
	Results Results `json:"results,omitempty"` // of this connection
}

// Cancel stops the session and keeps what was found.
type Cancel struct{}

// Ping asks for a pong with the same t.
type Ping struct {
	T json.RawMessage `json:"t,omitempty"`
}

// ParseClient decodes and validates a client's text message. The error is a *Error;
// beside it is the message as far as it was understood, or nil.
func ParseClient(text []byte) (ClientMessage, error) {
	var head struct {
		Type *string `json:"type"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, Errorf(BadMessage, "expected one JSON object with a \"type\": %s", jsonProblem(err))
	}
	if head.Type == nil {
		return nil, Errorf(BadMessage, "the message has no \"type\"; expected one of %v", clientTypes)
	}
	var m ClientMessage
	switch *head.Type {
	case "start":
		m = &Start{}
	case "resume":
		m = &Resume{}
	case "watch":
		m = &Watch{}
	case "picture":
		m = &NextPicture{}
	case "eof":
		return EOF{}, nil
	case "configure":
		m = &Configure{}
	case "cancel":
		return Cancel{}, nil
	case "ping":
		m = &Ping{}
	default:
		return nil, Errorf(BadMessage, "unknown type %.40q; expected one of %v", *head.Type, clientTypes)
	}
	if err := json.Unmarshal(text, m); err != nil {
		return m, Errorf(BadMessage, "%s: %s", *head.Type, jsonProblem(err))
	}
	if err := m.Validate(); err != nil {
		return m, Errorf(BadMessage, "%s: %s", *head.Type, err)
	}
	return m, nil
}

var clientTypes = []string{"start", "resume", "watch", "picture", "eof", "configure", "cancel", "ping"}

// jsonProblem says what is wrong with a text in a client's words, not in Go's.
func jsonProblem(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("field %q must not be a %s", e.Field, e.Value)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("not valid JSON at byte %d (%s)", e.Offset, e)
	}
	return err.Error()
}

// Validate checks every field's range.
func (m *Start) Validate() error {
	switch {
	case len(m.Key) > MaxKey:
		return fmt.Errorf("key: at most %d bytes, got %d", MaxKey, len(m.Key))
	case m.Mode != "" && m.Mode != File && m.Mode != Live:
		return fmt.Errorf("mode: expected \"file\" or \"live\", got %.40q", m.Mode)
	case m.BudgetMS != 0 && (m.BudgetMS < 1 || m.BudgetMS > MaxBudget):
		return fmt.Errorf("budget_ms: expected 1 to %d, got %d", MaxBudget, m.BudgetMS)
	case m.HeartbeatMS != 0 && (m.HeartbeatMS < MinHeartbeat || m.HeartbeatMS > MaxHeartbeat):
		return fmt.Errorf("heartbeat_ms: expected %d to %d, got %d", MinHeartbeat, MaxHeartbeat, m.HeartbeatMS)
	case m.ExpiresS < 0 || m.ExpiresS > MaxExpires:
		return fmt.Errorf("expires_s: expected 1 to %d, got %d", MaxExpires, m.ExpiresS)
	}
	return errors.Join(m.Media.validate(), m.Sample.validate(), m.Detect.validate(), m.Results.validate())
}

func (m Media) validate() error {
	switch {
	case len(m.Name) > MaxName || len(m.ID) > MaxName:
		return fmt.Errorf("media: name and id have at most %d bytes", MaxName)
	case m.Size < 0:
		return fmt.Errorf("media.size: expected bytes, got %d", m.Size)
	case m.FPS < 0 || m.FPS > media.MaxSampleFPS || math.IsNaN(m.FPS):
		return fmt.Errorf("media.fps: expected above 0 to %d, got %v", media.MaxSampleFPS, m.FPS)
	case m.SHA256 != "":
		return validSHA256("media.sha256", m.SHA256)
	}
	return nil
}

func validSHA256(name, text string) error {
	if b, err := hex.DecodeString(text); err != nil || len(b) != 32 {
		return errors.New(name + ": expected 64 hex digits")
	}
	return nil
}

func (s *Sample) validate() error {
	if s == nil {
		return nil
	}
	if s.All && (s.FPS != 0 || s.Every != 0) {
		return errors.New("sample: give one of fps, every, all")
	}
	return s.Rule().Validate()
}

func (d *Detect) validate() error {
	if d == nil {
		return nil
	}
	if t := d.Threshold; t != nil && (*t < MinThreshold || *t > 1) {
		return fmt.Errorf("detect.threshold: expected %v to 1, got %v", MinThreshold, *t)
	}
	if i := d.IoU; i != nil && (*i < 0 || *i > 1) {
		return fmt.Errorf("detect.iou: expected 0 to 1, got %v", *i)
	}
	if len(d.Labels) > MaxLabels {
		return fmt.Errorf("detect.labels: at most %d, got %d", MaxLabels, len(d.Labels))
	}
	return nil
}

func (r Results) validate() error {
	if !slices.Contains([]Results{"", All, NonEmpty}, r) {
		return fmt.Errorf("results: expected \"all\" or \"nonempty\", got %.40q", string(r))
	}
	return nil
}

// Validate checks every field's range.
func (m *Resume) Validate() error {
	if m.Session == "" || m.Token == "" {
		return errors.New("session and token are required")
	}
	return errors.Join(m.Results.validate(), m.Overlap.validate())
}

// Validate checks every field's range.
func (m *Watch) Validate() error {
	if m.Session == "" {
		return errors.New("session is required")
	}
	return m.Results.validate()
}

// Validate checks every field's range.
func (m *Configure) Validate() error {
	if len(m.ID) > MaxKey {
		return fmt.Errorf("id: at most %d bytes, got %d", MaxKey, len(m.ID))
	}
	return errors.Join(m.Sample.validate(), m.Detect.validate(), m.Results.validate())
}

// Validate checks nothing: JSON has no number that is none.
func (*NextPicture) Validate() error { return nil }

// Validate checks nothing.
func (EOF) Validate() error { return nil }

// Validate checks nothing.
func (Cancel) Validate() error { return nil }

// Validate bounds what is echoed.
func (m *Ping) Validate() error {
	if len(m.T) > MaxKey {
		return fmt.Errorf("t: at most %d bytes, got %d", MaxKey, len(m.T))
	}
	return nil
}

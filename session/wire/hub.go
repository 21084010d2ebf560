package wire

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"time"

	"detections/infer"
)

// Type is the "type" of a message from the hub.
type Type string

// The types. The first four are numbered.
const (
	TypeDetections Type = "detections"
	TypeConfigured Type = "configured"
	TypeSegment    Type = "segment"
	TypeEnd        Type = "end"
	TypeStarted    Type = "started"
	TypeAck        Type = "ack"
	TypeProgress   Type = "progress"
	TypeState      Type = "state"
	TypeError      Type = "error"
	TypeGoAway     Type = "goaway"
	TypePong       Type = "pong"
)

// Event is a numbered message, encoded once for all doors.
type Event struct {
	Offset uint64
	Type   Type
	// Empty says that it is a result without any detection.
	Empty bool
	// Message is the JSON object that clients are sent. Nobody may change it.
	Message []byte
}

// Millis is a time or duration in milliseconds with three decimals.
type Millis time.Duration

// MarshalJSON writes 12.345.
func (m Millis) MarshalJSON() ([]byte, error) {
	us := time.Duration(m).Round(time.Microsecond).Microseconds()
	return strconv.AppendFloat(nil, float64(us)/1000, 'f', 3, 64), nil
}

// UnmarshalJSON reads a number of milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*m = Millis(f * float64(time.Millisecond))
	return nil
}

// Decimal is a number with at most four decimals.
type Decimal float32

// MarshalJSON rounds to four decimals and writes no trailing zeros.
func (d Decimal) MarshalJSON() ([]byte, error) { return decimals(float32(d), 4), nil }

// Pixels is a coordinate or length with at most two decimals.
type Pixels float32

// MarshalJSON rounds to two decimals and writes no trailing zeros.
func (p Pixels) MarshalJSON() ([]byte, error) { return decimals(float32(p), 2), nil }

func decimals(v float32, n int) []byte {
	b := strconv.AppendFloat(nil, float64(v), 'f', n, 32)
	return bytes.TrimSuffix(bytes.TrimRight(b, "0"), []byte("."))
}

// Detection is one object in a frame.
type Detection struct {
	Class      int       `json:"class"`
	Label      string    `json:"label"`
	Confidence Decimal   `json:"confidence"`
	Box        [4]Pixels `json:"box"`
	// Track is the number of a followed object, from 1; 0: not followed, or seen for the first time.
	Track int64 `json:"track,omitempty"`
}

// NewDetections gives the client's form of detections of one model.
func NewDetections(m *infer.Model, dets []infer.Detection) []Detection {
	out := make([]Detection, len(dets))
	for i, d := range dets {
		out[i] = Detection{
			Class: d.Class, Label: m.Label(d.Class), Confidence: Decimal(d.Confidence), Track: d.Track,
			Box: [4]Pixels{Pixels(d.Box.X), Pixels(d.Box.Y), Pixels(d.Box.W), Pixels(d.Box.H)},
		}
	}
	return out
}

// Timing says where a result's time went, in ms.
type Timing struct {
	// Jitter is there for what comes over WebRTC: first packet arrived → the frame is whole.
	Jitter  Millis `json:"jitter,omitempty"`
	Receive Millis `json:"receive"` // last needed byte arrived → decoder took it up
	Decode  Millis `json:"decode"`  // decoding and scaling
	Queue   Millis `json:"queue"`   // pixels ready → bound to a batch
	Infer   Millis `json:"infer"`   // batch formed → detections ready
	Order   Millis `json:"order"`   // detections ready → it is the frame's turn in the timeline
	Total   Millis `json:"total"`   // all of these
}

// Since gives a timing its total, the time since the last needed byte arrived and the
// jitter, and leaves to Order what of that is in no other stage.
func (t Timing) Since(arrived time.Duration) Timing {
	known := t.Receive + t.Decode + t.Queue + t.Infer
	t.Order = max(0, Millis(arrived)-known)
	t.Total = t.Jitter + known + t.Order
	return t
}

// Detections is the result of one sampled frame.
type Detections struct {
	Type   Type   `json:"type"`
	Offset uint64 `json:"offset"`
	Frame  int64  `json:"frame"`
	PTS    Millis `json:"pts_ms"`
	// What the sender of a live picture said of it, where it did: the RTP time stamp, its
	// own time (ms; with WebRTC that of capture, since 1970), its own number.
	RTP        *uint32     `json:"rtp_ts,omitempty"`
	ClientTS   *float64    `json:"client_ts,omitempty"`
	Seq        *int64      `json:"seq,omitempty"`
	Width      int         `json:"width"`
	Height     int         `json:"height"`
	Detections []Detection `json:"detections"`
	Model      string      `json:"model"`
	Error      *Failure    `json:"error,omitempty"`
	Timing     Timing      `json:"timing"`
}

// Failure says why one frame has no result.
type Failure struct {
	Code Code `json:"code"`
}

// Configured tells the configuration and engine in force from a frame on.
type Configured struct {
	Type   Type           `json:"type"`
	Offset uint64         `json:"offset"`
	ID     string         `json:"id,omitempty"`
	Frame  int64          `json:"frame"`
	Mode   Mode           `json:"mode"`
	Sample Sample         `json:"sample"`
	Detect DetectInForce  `json:"detect"`
	Track  bool           `json:"track"`
	Model  ModelRef       `json:"model"`
	Engine infer.Identity `json:"engine"`
}

// DetectInForce is Detect with every field set.
type DetectInForce struct {
	Threshold Decimal `json:"threshold"`
	// Asked says that the client asked for Threshold, and that it holds for classes that
	// have one of their own too.
	Asked  bool     `json:"threshold_asked,omitempty"`
	IoU    Decimal  `json:"iou"`
	Labels []string `json:"labels"` // null: all
}

// ModelRef names a model.
type ModelRef struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Segment says that the input of a live session was interrupted and begins anew: as
// another file or stream, whose pts_ms have their own beginning.
type Segment struct {
	Type   Type          `json:"type"`
	Offset uint64        `json:"offset"`
	Reason SegmentReason `json:"reason"`
	// Frame is the index of the first frame after the interruption.
	Frame int64 `json:"frame"`
	// Bytes is where its input begins, among all bytes of the session.
	Bytes int64 `json:"bytes"`
	// Missed are frames of before that have no result because of the interruption, as
	// far as they are known, by their reason in Accounting.Dropped.
	Missed map[string]int64 `json:"missed"`
}

// SegmentReason is why the input of a live session was interrupted.
type SegmentReason string

// The reasons.
const (
	Reconnected SegmentReason = "reconnected" // another connection feeds the session
	Restarted   SegmentReason = "restarted"   // the hub was restarted
)

// Outcome is how a session ended.
type Outcome string

// The outcomes.
const (
	Done      Outcome = "done"
	Cancelled Outcome = "cancelled"
	Failed    Outcome = "failed"
)

// End is the last event of every session.
type End struct {
	Type        Type       `json:"type"`
	Offset      uint64     `json:"offset"`
	Outcome     Outcome    `json:"outcome"`
	Code        Code       `json:"code,omitempty"`
	Message     string     `json:"message,omitempty"`
	MediaSHA256 string     `json:"media_sha256,omitempty"`
	Bytes       int64      `json:"bytes"`
	Accounting  Accounting `json:"accounting"`
}

// Accounting says what became of every frame:
// decoded = inferred + skipped + Σ dropped + Σ failed + pending.
// Beside it stand undecoded, in access units that gave no picture, and concealed.
type Accounting struct {
	Decoded   int64            `json:"decoded"`
	Inferred  int64            `json:"inferred"`
	Skipped   int64            `json:"skipped"` // not picked by the sampling rule
	Dropped   map[string]int64 `json:"dropped"`
	Failed    map[string]int64 `json:"failed"`
	Pending   int64            `json:"pending"`
	Undecoded map[string]int64 `json:"undecoded"`
	// Concealed are those of the decoded pictures parts of which were lost and guessed.
	Concealed int64 `json:"concealed"`
}

// Started answers start, resume and watch.
type Started struct {
	Type    Type   `json:"type"`
	Session string `json:"session"`
	Token   string `json:"token,omitempty"` // secret, for the feeder only
	Epoch   string `json:"epoch"`
	Offset  uint64 `json:"offset"` // events up to here are not sent again
	Bytes   int64  `json:"bytes"`  // send the media from this byte
	// SHA256 is the hash of the bytes before that, for a feeder that comes back with
	// the media: it notices that they are others. Missing if there are none, or while
	// the hub reads them after a restart.
	SHA256    string `json:"sha256,omitempty"`
	Recovered bool   `json:"recovered"`
	Known     bool   `json:"known"`
	// Model is missing while no engine is ready; the configured event names it.
	Model  *StartedModel  `json:"model,omitempty"`
	Limits *StartedLimits `json:"limits,omitempty"`
}

// StartedModel is the model a session begins with.
type StartedModel struct {
	ModelRef
	Labels []string `json:"labels"`
}

// StartedLimits is what a feeder must keep to.
type StartedLimits struct {
	Window  int64 `json:"window"`  // bytes beyond the last ack
	Message int64 `json:"message"` // bytes of one binary message
	Bytes   int64 `json:"bytes"`   // bytes of the whole media
}

// Ack says that the first Bytes bytes are durable.
type Ack struct {
	Type  Type  `json:"type"`
	Bytes int64 `json:"bytes"`
}

// Progress is sent at most once a second.
type Progress struct {
	Type       Type       `json:"type"`
	Offset     uint64     `json:"offset"`
	Bytes      int64      `json:"bytes"`
	Accounting Accounting `json:"accounting"`
	Percent    *Decimal   `json:"percent,omitempty"`
	ETA        *Millis    `json:"eta_ms,omitempty"`
}

// StateName is what a session is doing.
type StateName string

// The states.
const (
	WaitingForEngine   StateName = "waiting_for_engine"
	WaitingForIndex    StateName = "waiting_for_index"
	WaitingForCapacity StateName = "waiting_for_capacity"
	WaitingForBytes    StateName = "waiting_for_bytes"
	Running            StateName = "running"
	Lingering          StateName = "lingering"
	Ended              StateName = "ended"
)

// States are the states of a session that has not ended.
var States = []StateName{WaitingForEngine, WaitingForIndex, WaitingForCapacity, WaitingForBytes, Running, Lingering}

// State is sent when the state changes.
type State struct {
	Type  Type      `json:"type"`
	State StateName `json:"state"`
	AI    *AI       `json:"ai,omitempty"`
}

// Same says that another state tells nothing else.
func (s State) Same(o State) bool {
	return s.State == o.State && bytes.Equal(Encode(s.AI), Encode(o.AI))
}

// AI is how far the engine is.
type AI struct {
	Availability string   `json:"availability"`
	Percent      *Decimal `json:"percent,omitempty"`
	ETA          *Millis  `json:"eta_ms,omitempty"`
	Reason       string   `json:"reason,omitempty"` // of ERROR
}

// ErrorMessage reports a failure on a connection.
type ErrorMessage struct {
	Type      Type   `json:"type"`
	ID        string `json:"id,omitempty"` // of the configure that is refused
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Temporary bool   `json:"temporary"`
	Fatal     bool   `json:"fatal"`
}

// GoAway asks the client to leave.
type GoAway struct {
	Type   Type   `json:"type"`
	Action string `json:"action"` // resume, reconnect, stop
	Retry  Millis `json:"retry_ms"`
}

// How long clients are asked to wait before they come back: the next process may be
// there already, and not all of them come at once.
const (
	minRetry = 50 * time.Millisecond
	maxRetry = 500 * time.Millisecond
)

// NewGoAway asks the client to resume, after a random time.
func NewGoAway() []byte {
	retry := minRetry + rand.N(maxRetry-minRetry) //nolint:gosec // G404: jitter
	return Encode(GoAway{Type: TypeGoAway, Action: "resume", Retry: Millis(retry)})
}

// Pong answers Ping.
type Pong struct {
	Type Type            `json:"type"`
	T    json.RawMessage `json:"t,omitempty"`
}

// Picture is the answer to POST /detect.
type Picture struct {
	Width      int         `json:"width"`
	Height     int         `json:"height"`
	Model      string      `json:"model"`
	Detections []Detection `json:"detections"`
	Timing     Timing      `json:"timing"`
}

// Encode gives the JSON of a message of this package. It cannot fail: the types hold no
// value that JSON lacks.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("wire: " + err.Error())
	}
	return b
}

// Numbered is a message that becomes an event of a timeline.
type Numbered interface {
	// Event sets the message's type and offset, and encodes it.
	Event(offset uint64) Event
}

// Event implements Numbered.
func (m *Detections) Event(offset uint64) Event {
	m.Type, m.Offset = TypeDetections, offset
	return Event{Offset: offset, Type: m.Type, Empty: len(m.Detections) == 0 && m.Error == nil, Message: Encode(m)}
}

// Event implements Numbered.
func (m *Configured) Event(offset uint64) Event {
	m.Type, m.Offset = TypeConfigured, offset
	return Event{Offset: offset, Type: m.Type, Message: Encode(m)}
}

// Event implements Numbered.
func (m *Segment) Event(offset uint64) Event {
	m.Type, m.Offset = TypeSegment, offset
	return Event{Offset: offset, Type: m.Type, Message: Encode(m)}
}

// Event implements Numbered.
func (m *End) Event(offset uint64) Event {
	m.Type, m.Offset = TypeEnd, offset
	return Event{Offset: offset, Type: m.Type, Message: Encode(m)}
}

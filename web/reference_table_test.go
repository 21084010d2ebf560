package web

import (
	"encoding/json"

	"detections/hub/outbox"
	"detections/session/wire"
)

// call is what the reference says of a route.
type call struct {
	does    string
	query   []string // names of parameters
	body    []string // types
	request any      // of a JSON body
	status  string
	answers []string // types
	answer  any      // of a JSON answer
	// more are other statuses that are no problems.
	more map[string]string
}

var (
	sampling  = []string{"fps", "every", "all", "threshold", "iou", "labels", "track", "results", "name", "expires_s", "budget_ms"}
	uploading = append([]string{"mode", "key", "sha256", "container"}, sampling...)
	anything  = []string{"*/*"}
	jsonOnly  = []string{typeJSON}
	streams   = []string{"text/event-stream", typeNDJSON}
)

type sessionList struct {
	Sessions []sessionInfo `json:"sessions"`
}

type mediaSessions struct {
	SHA256   string        `json:"media_sha256"`
	Sessions []sessionInfo `json:"sessions"`
}

type eventList struct {
	Events []json.RawMessage `json:"events"`
}

type letterRequest struct {
	Keys []string `json:"keys,omitempty"`
	All  bool     `json:"all,omitempty"`
}

type ticketAnswer struct {
	Ticket   string `json:"ticket"`
	ExpiresS int    `json:"expires_s"`
}

// calls are the routes of the API, by their pattern. Those of the page are not among them.
var calls = map[string]call{
	"GET /health":  {does: "Says at once, whatever the engine does, how the hub is.", status: "200", answers: jsonOnly, answer: health{}},
	"GET /livez":   {does: "The process answers.", status: "200", answers: jsonOnly},
	"GET /readyz":  {does: "Whether new work should be sent here.", status: "200", answers: jsonOnly, answer: readiness{}, more: map[string]string{"503": "Not ready, with the reasons."}},
	"GET /metrics": {does: "Metrics in the format of Prometheus.", status: "200", answers: []string{"text/plain"}},
	"GET /classes": {does: "What the model in force can detect.", status: "200", answers: jsonOnly, answer: classList{}},
	"POST /detect": {does: "Detects in one picture: the body, or the multipart part `file`.", query: []string{"threshold", "iou", "labels"}, body: []string{"image/*", "multipart/form-data"}, status: "200", answers: jsonOnly, answer: wire.Picture{}},
	"POST /detect/video": {
		does: "Detects in a video: the body, or a multipart part. The answer streams events while the upload runs.", query: uploading, body: []string{"*/*", "multipart/form-data"}, status: "200", answers: streams,
		more: map[string]string{"202": "With `Prefer: respond-async`: `started` and a `Location`, as soon as the media was recognised."},
	},
	"PUT /detect/video":             {does: "The same; what `curl -T` sends.", query: uploading, body: anything, status: "200", answers: streams},
	"POST /detect/{media_id}":       {does: "Begins a session on media of the Annotations service, which the hub fetches.", query: uploading, status: "202", answers: jsonOnly, answer: wire.Started{}},
	"GET /detect/stream":            {does: "Server-sent events of a session, of the newest on media, or, without either, of everything as it comes. The header `Last-Event-ID` (`epoch:offset`) resumes.", query: []string{"session", "media", "results", "last_event_id", "ticket"}, status: "200", answers: []string{"text/event-stream"}},
	"GET " + socketPath:             {does: "The WebSocket, subprotocol `detections.v1`: its messages are below.", query: []string{"ticket"}, status: "101"},
	"GET /v1/sessions":              {does: "Running and kept sessions.", status: "200", answers: jsonOnly, answer: sessionList{}},
	"GET /v1/sessions/{id}":         {does: "One session.", status: "200", answers: jsonOnly, answer: sessionInfo{}},
	"DELETE /v1/sessions/{id}":      {does: "Stops a session and erases its media and results.", status: "204"},
	"POST /v1/sessions/{id}/cancel": {does: "Stops a session and keeps what was found.", status: "200", answers: jsonOnly, answer: sessionInfo{}},
	"GET /v1/sessions/{id}/results": {does: "Every event so far; CSV has a line per detection.", query: []string{"format"}, status: "200", answers: []string{typeJSON, typeNDJSON, "text/csv"}, answer: eventList{}},
	"GET /v1/media/{id}":            {does: "The sessions with results for media, by its SHA-256 in hex.", status: "200", answers: jsonOnly, answer: mediaSessions{}},
	"POST /v1/tickets":              {does: "A ticket for a browser's WebSocket or EventSource: `?ticket=…`, once, within 30 s.", status: "201", answers: jsonOnly, answer: ticketAnswer{}},
	"GET /v1/model":                 {does: "The model and its engines.", status: "200", answers: jsonOnly, answer: modelView{}},
	"POST /v1/model":                {does: "Looks for another version of the model, or takes the one that is named.", body: jsonOnly, request: modelRequest{}, status: "200", answers: jsonOnly, answer: modelView{}},
	"POST /v1/model/rollback":       {does: "Goes back to the version before.", status: "200", answers: jsonOnly, answer: modelView{}},
	"GET /v1/outbox":                {does: "How deliveries to the Annotations service go, and its dead letters.", status: "200", answers: jsonOnly, answer: outboxView{}},
	"POST /v1/outbox/retry":         {does: "Delivers dead letters once more.", body: jsonOnly, request: letterRequest{}, status: "200", answers: jsonOnly, answer: outbox.Replayed{}},
	"POST /v1/outbox/drop":          {does: "Drops dead letters.", body: jsonOnly, request: letterRequest{}, status: "200", answers: jsonOnly, answer: outbox.Replayed{}},
	"OPTIONS /v1/whip":              {does: "Says what WHIP takes, and in `Link` which ICE servers may help.", status: "204"},
	"POST /v1/whip": {
		does: "Begins a live session over WebRTC (WHIP, RFC 9725) with an SDP offer that sends video; `Location` is its secret resource.", query: append([]string{"session"}, sampling...),
		body: []string{typeSDP}, status: "201", answers: []string{typeSDP},
	},
	"PATCH /v1/whip/{resource}":  {does: "Takes ICE candidates, or with `If-Match: *` restarts ICE.", body: []string{typeSDPFrag}, status: "204", more: map[string]string{"200": "ICE was restarted: the fragment of the hub's side."}},
	"DELETE /v1/whip/{resource}": {does: "Ends the connection and, when what came is decoded, its session.", status: "200"},
}

// pages are routes for people.
var pages = []string{"GET /{$}", "GET /page/", "GET /clients", "GET /reference", "GET /openapi.json", "GET /asyncapi.json"}

// parameter is one of a query or a path.
type parameter struct{ kind, about string }

var parameters = map[string]parameter{
	"fps": {"number", "At most so many frames per second of media time, above 0 to 1000."}, "every": {"integer", "Each n-th frame, 1 to 1000000."},
	"all": {"boolean", "Every frame; the default."}, "threshold": {"number", "Lowest confidence, 0.01 to 1."},
	"iou": {"number", "Overlap above which two boxes of a class are one, 0 to 1; default 0.5."}, "labels": {"string", "Only these classes, separated by commas."},
	"track": {"boolean", "Number the objects."}, "results": {"string", "`all` (default) or `nonempty`."}, "mode": {"string", "`file` (default) or `live`."},
	"key":    {"string", "The same key attaches to the same session; at most 128 bytes."},
	"sha256": {"string", "Of the media, in hex: known media need not be sent."}, "container": {"string", "The format, where the bytes do not tell."},
	"name": {"string", "A file name, for humans."}, "expires_s": {"integer", "How long the results are kept after the end, in seconds."},
	"budget_ms": {"integer", "How old a live frame may be when its result is there, 1 to 60000 ms; default 1000."},
	"session":   {"string", "The id of a session."}, "media": {"string", "The id or SHA-256 of media."},
	"last_event_id": {"string", "`epoch:offset`, where headers cannot be set."}, "ticket": {"string", "Of POST /v1/tickets, where headers cannot be set."},
	"format": {"string", "`json` (default), `ndjson` or `csv`."}, "id": {"string", "The id of the session; of media, its SHA-256."},
	"media_id": {"string", "The id of the media."}, "resource": {"string", "The secret in the Location."},
}

// said are examples of what clients say, by type.
var said = map[string]string{
	"start":     `{"type":"start","media":{"name":"people.mp4","size":1048576},"sample":{"fps":5},"detect":{"threshold":0.5,"labels":["person"]},"track":true}`,
	"resume":    `{"type":"resume","session":"GJ3FQ","token":"XK5TW","epoch":"6KQ2ZB7A","offset":118}`,
	"watch":     `{"type":"watch","session":"GJ3FQ","offset":0,"results":"nonempty"}`,
	"picture":   `{"type":"picture","client_ts":1234.5,"seq":7}`,
	"eof":       `{"type":"eof"}`,
	"configure": `{"type":"configure","id":"slider","detect":{"threshold":0.6}}`,
	"cancel":    `{"type":"cancel"}`,
	"ping":      `{"type":"ping","t":42}`,
}

var someAccounting = wire.Accounting{
	Decoded: 30, Inferred: 28, Dropped: map[string]int64{"superseded": 1}, Failed: map[string]int64{}, Pending: 1, Undecoded: map[string]int64{"lost": 2},
}

// told are examples of what the hub says.
var told = []wire.HubMessage{
	&wire.Started{
		Type: wire.TypeStarted, Session: "GJ3FQ", Token: "XK5TW", Epoch: "6KQ2ZB7A", Recovered: true,
		Model: &wire.StartedModel{ModelRef: wire.ModelRef{Name: "nanodet", Version: "1"}, Labels: []string{"person", "bicycle"}}, Limits: &wire.StartedLimits{Window: 8 << 20, Message: 1 << 20, Bytes: 1 << 34},
	},
	&wire.Configured{Type: wire.TypeConfigured, Offset: 1, Mode: wire.Live, Sample: wire.Sample{All: true}, Detect: wire.DetectInForce{Threshold: 0.45, IoU: 0.5}, Model: wire.ModelRef{Name: "nanodet", Version: "1"}},
	&wire.Detections{
		Type: wire.TypeDetections, Offset: 2, Frame: 0, RTP: new(uint32(90000)), Width: 640, Height: 480, Model: "nanodet@1",
		Detections: []wire.Detection{{Label: "person", Confidence: 0.87, Box: [4]wire.Pixels{12, 30.5, 80, 200}, Track: 3}}, Timing: wire.Timing{Decode: 900_000, Infer: 12_000_000, Total: 14_000_000},
	},
	&wire.Segment{Type: wire.TypeSegment, Offset: 80, Reason: wire.Reconnected, Frame: 78, Bytes: 90_000, Missed: map[string]int64{"not_recorded": 0}},
	&wire.Ack{Type: wire.TypeAck, Bytes: 65536},
	&wire.Progress{Type: wire.TypeProgress, Offset: 30, Bytes: 65536, Accounting: someAccounting, Percent: new(wire.Decimal(6.25))},
	&wire.State{Type: wire.TypeState, State: wire.WaitingForEngine, AI: &wire.AI{Availability: "CONVERTING", Percent: new(wire.Decimal(40))}},
	&wire.ErrorMessage{Type: wire.TypeError, ID: "slider", Code: wire.BadMessage, Message: "configure: detect.threshold: expected 0.01 to 1, got 2"},
	&wire.GoAway{Type: wire.TypeGoAway, Action: "resume", Retry: 120_000_000},
	&wire.Pong{Type: wire.TypePong, T: json.RawMessage("42")},
	&wire.End{Type: wire.TypeEnd, Offset: 119, Outcome: wire.Done, MediaSHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Bytes: 1048576, Accounting: someAccounting},
}

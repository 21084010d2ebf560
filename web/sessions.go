package web

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"detections/hub"
	"detections/media"
	"detections/session"
	"detections/session/wire"
)

// sessionInfo is a session as GET /v1/sessions shows it.
type sessionInfo struct {
	Session    string            `json:"session"`
	Principal  string            `json:"principal,omitempty"` // for admins
	State      wire.StateName    `json:"state"`
	Created    time.Time         `json:"created"`
	Mode       wire.Mode         `json:"mode"`
	Media      wire.Media        `json:"media"`
	Stream     *media.StreamInfo `json:"stream,omitempty"`
	Model      string            `json:"model,omitempty"`
	Bytes      int64             `json:"bytes"`
	Acked      int64             `json:"acked"`
	Offset     uint64            `json:"offset"`
	Percent    *wire.Decimal     `json:"percent,omitempty"`
	ETA        *wire.Millis      `json:"eta_ms,omitempty"`
	Accounting wire.Accounting   `json:"accounting"`
	End        *wire.End         `json:"end,omitempty"`
	// Expires is when the results are deleted, once it has ended.
	Expires time.Time `json:"expires,omitzero"`
}

// infoOf shows a session to a principal, or to Everyone.
func (s *Server) infoOf(principal string, st session.Status) sessionInfo {
	p := st.Progress()
	info := sessionInfo{
		Session: st.ID, State: st.State, Created: st.Created, Mode: st.Mode, Media: st.Media, Stream: st.Stream,
		Bytes: st.Received, Acked: st.Acked, Offset: st.Offset, Percent: p.Percent, ETA: p.ETA,
		Accounting: st.Accounting, End: st.End, Expires: s.hub.Expires(st.ID),
	}
	if principal == hub.Everyone {
		info.Principal = st.Principal
	}
	if st.Model != nil {
		info.Model = st.Model.Ref()
	}
	return info
}

// sessionHandler answers for one of the sessions that the caller sees, or fails.
type sessionHandler func(w http.ResponseWriter, r *http.Request, principal, id string) error

// session makes a handler of the routes below /v1/sessions/{id}.
func (s *Server) session(h sessionHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r, sees(r), r.PathValue("id")); err != nil {
			s.refuse(w, r, err)
		}
	}
}

// listSessions answers GET /v1/sessions.
func (s *Server) listSessions(w http.ResponseWriter, _ *http.Request, principal, _ string) error {
	list := []sessionInfo{}
	for _, st := range s.hub.Sessions(principal) {
		list = append(list, s.infoOf(principal, st))
	}
	writeJSON(w, typeJSON, http.StatusOK, map[string][]sessionInfo{"sessions": list})
	return nil
}

// showSession answers GET /v1/sessions/{id}.
func (s *Server) showSession(w http.ResponseWriter, _ *http.Request, principal, id string) error {
	found, _, err := s.hub.Session(principal, id)
	if err != nil {
		return err
	}
	writeJSON(w, typeJSON, http.StatusOK, s.infoOf(principal, found.Status()))
	return nil
}

// cancelSession answers POST /v1/sessions/{id}/cancel.
func (s *Server) cancelSession(w http.ResponseWriter, r *http.Request, principal, id string) error {
	found, err := s.hub.Cancel(principal, id)
	if err != nil {
		return err
	}
	select { // what was found is complete only then
	case <-found.Done():
	case <-r.Context().Done():
	}
	writeJSON(w, typeJSON, http.StatusOK, s.infoOf(principal, found.Status()))
	return nil
}

// deleteSession answers DELETE /v1/sessions/{id}.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request, principal, id string) error {
	if err := s.hub.Delete(r.Context(), principal, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// results answers GET /v1/sessions/{id}/results: every event so far.
func (s *Server) results(w http.ResponseWriter, r *http.Request, principal, id string) error {
	events, err := s.hub.Events(r.Context(), principal, id)
	if err != nil {
		return err
	}
	switch format := r.URL.Query().Get("format"); format {
	case "", "json":
		return export(w, typeJSON, events, writeArray)
	case "ndjson":
		return export(w, typeNDJSON, events, writeLines)
	case "csv":
		return export(w, "text/csv; charset=utf-8", events, writeCSV)
	default:
		return wire.Errorf(wire.BadMessage, "format: expected json, ndjson or csv, got %.40q", format)
	}
}

type eventSeq = iter.Seq2[wire.Event, error]

// export sends events in one format. After the first byte an error can only cut
// the answer off, so that nobody takes it for complete.
func export(w http.ResponseWriter, contentType string, events eventSeq, write func(io.Writer, eventSeq) error) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := write(newSteady(w), events); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func writeArray(w io.Writer, events eventSeq) error {
	if _, err := io.WriteString(w, `{"events":[`); err != nil {
		return err
	}
	sep := "\n"
	for e, err := range events {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", sep, e.Message); err != nil {
			return err
		}
		sep = ",\n"
	}
	_, err := io.WriteString(w, "\n]}\n")
	return err
}

func writeLines(w io.Writer, events eventSeq) error {
	for e, err := range events {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s\n", e.Message); err != nil {
			return err
		}
	}
	return nil
}

var csvHeader = []string{"frame", "pts_ms", "class", "label", "confidence", "x", "y", "width", "height", "track"}

// writeCSV writes a line per detection; frames without any have none.
func writeCSV(w io.Writer, events eventSeq) error {
	out := csv.NewWriter(w)
	_ = out.Write(csvHeader) // kept until Flush
	for e, err := range events {
		if err != nil {
			return err
		}
		if e.Type != wire.TypeDetections {
			continue
		}
		if err := writeRows(out, e.Message); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func writeRows(out *csv.Writer, message []byte) error {
	var m struct {
		Frame      json.Number `json:"frame"`
		PTS        json.Number `json:"pts_ms"`
		Detections []struct {
			Class      json.Number    `json:"class"`
			Label      string         `json:"label"`
			Confidence json.Number    `json:"confidence"`
			Box        [4]json.Number `json:"box"`
			Track      int64          `json:"track"`
		} `json:"detections"`
	}
	if err := json.Unmarshal(message, &m); err != nil {
		return err
	}
	for _, d := range m.Detections {
		row := []string{m.Frame.String(), m.PTS.String(), d.Class.String(), d.Label, d.Confidence.String()}
		for _, b := range d.Box {
			row = append(row, b.String())
		}
		track := ""
		if d.Track != 0 {
			track = strconv.FormatInt(d.Track, 10)
		}
		if err := out.Write(append(row, track)); err != nil {
			return err
		}
	}
	return nil
}

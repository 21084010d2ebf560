package web

import (
	"net/http"
	"time"

	"detections/session/wire"
)

// pictureTime bounds how long one picture may take from first byte to answer.
const pictureTime = 60 * time.Second

// detect answers POST /detect.
func (s *Server) detect(w http.ResponseWriter, r *http.Request) {
	// A body that does not come ends the request, not the hub's patience.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(pictureTime)) // not every transport has deadlines
	answer, err := s.picture(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	writeJSON(w, typeJSON, http.StatusOK, answer)
}

func (s *Server) picture(r *http.Request) (answer wire.Picture, err error) {
	d, err := detectOf(r.URL.Query())
	if err != nil {
		return answer, err
	}
	body, err := openUpload(r)
	if err != nil {
		return answer, err
	}
	return s.hub.Picture(r.Context(), principal(r), body, d)
}

package web

import (
	"net/http"
	"slices"
)

// What pages of other origins may send and read, beside what they always may. There is
// no Access-Control-Allow-Credentials: a token is in a header, and nothing is in cookies.
const (
	sharedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	sharedSent    = "Authorization, Content-Type, If-Match, Last-Event-ID, Prefer"
	sharedRead    = "Accept-Post, Allow, ETag, Link, Location, Preference-Applied, Retry-After, Session, WWW-Authenticate"
	sharedTime    = "600" // s for which browsers need not ask again
)

// share tells a browser that a page of an origin on the allow-list may read the answer.
// It answers what browsers ask before such a page's request (done): there is never a
// token with it, so it is answered before anybody is asked for one.
func (s *Server) share(w http.ResponseWriter, r *http.Request) (done bool) {
	if len(s.cfg.Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(s.cfg.Origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", sharedRead)
		return false
	}
	h.Set("Access-Control-Allow-Methods", sharedMethods)
	h.Set("Access-Control-Allow-Headers", sharedSent)
	h.Set("Access-Control-Max-Age", sharedTime)
	w.WriteHeader(http.StatusNoContent)
	return true
}

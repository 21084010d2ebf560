package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"detections/session/wire"
)

// shared are the headers by which a browser lets a page read an answer.
func shared(a *http.Response) (origin string, others int) {
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") && name != "Access-Control-Allow-Origin" {
			others++
		}
	}
	return a.Header.Get("Access-Control-Allow-Origin"), others
}

func preflight(origin, method string) []string {
	return []string{"Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "authorization"}
}

func TestPagesOfAllowedOriginsGetTickets(t *testing.T) {
	t.Parallel()
	const good = "https://good.example"
	g := newGuarded(t, options{origins: []string{"https://first.example:8443", good}}, "sam stream")
	asked := g.do("OPTIONS", "/v1/tickets", nil, preflight(good, "POST")...) // a browser sends no token with it
	if origin, _ := shared(asked); asked.StatusCode != http.StatusNoContent || origin != good ||
		!strings.Contains(asked.Header.Get("Access-Control-Allow-Methods"), "POST") || !strings.Contains(asked.Header.Get("Access-Control-Allow-Headers"), "Authorization") ||
		asked.Header.Get("Access-Control-Allow-Credentials") != "" || asked.Header.Get("Vary") != "Origin" {
		t.Errorf("the question: %s %v", asked.Status, asked.Header)
	}
	a := g.do("POST", "/v1/tickets", nil, "Origin", good, "Authorization", "Bearer "+g.keys["sam stream"])
	var answer struct{ Ticket string }
	if origin, _ := shared(a); a.StatusCode != http.StatusCreated || origin != good || json.NewDecoder(a.Body).Decode(&answer) != nil || answer.Ticket == "" {
		t.Fatalf("the ticket: %s %v", a.Status, a.Header)
	}
	if origin, _ := shared(g.get("/detect/stream?session=none&ticket="+answer.Ticket, "Origin", good)); origin != good {
		t.Errorf("what the ticket is for can be read by %q", origin)
	}
	a = g.do("POST", "/v1/tickets", nil, "Origin", good) // so that the page can say why
	if origin, _ := shared(a); origin != good {
		t.Errorf("a refusal can be read by %q", origin)
	}
	g.problem(a, http.StatusUnauthorized, wire.Unauthorized, "Authorization: Bearer")
}

func TestOtherPagesGetNothingToRead(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{origins: []string{"https://good.example"}}, "sam stream")
	token := g.keys["sam stream"]
	for _, origin := range []string{
		"https://evil.example", "http://good.example", "https://good.example:8443", "https://good.example.evil.example", "https://sub.good.example",
		"https://GOOD.example", "https://good.example/", "https://good.example https://evil.example", "*", "null",
	} {
		for name, a := range map[string]*http.Response{
			"the question":  g.do("OPTIONS", "/v1/tickets", nil, preflight(origin, "POST")...),
			"the ticket":    g.do("POST", "/v1/tickets", nil, "Origin", origin, "Authorization", "Bearer "+token),
			"what is read":  g.get("/v1/sessions", "Origin", origin, "Authorization", "Bearer "+token),
			"what is open":  g.get("/readyz", "Origin", origin),
			"another route": g.do("OPTIONS", "/v1/whip", nil, "Origin", origin),
		} {
			if by, others := shared(a); by != "" || others != 0 || a.Header.Get("Vary") != "Origin" && a.StatusCode < 400 {
				t.Errorf("%s, %s: %s %v", origin, name, a.Status, a.Header)
			}
			if (name == "the question" || name == "the ticket") && a.StatusCode != http.StatusForbidden {
				t.Errorf("%s, %s: %s", origin, name, a.Status)
			}
		}
	}
}

func TestWithoutAllowedOriginsNothingIsShared(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	for _, origin := range []string{s.URL, "https://evil.example"} {
		for _, a := range []*http.Response{s.do("OPTIONS", "/v1/tickets", nil, preflight(origin, "POST")...), s.get("/health", "Origin", origin)} {
			if by, others := shared(a); by != "" || others != 0 {
				t.Errorf("%s: %v", origin, a.Header)
			}
		}
	}
	if a := s.do("OPTIONS", "/v1/whip", nil); a.StatusCode != http.StatusNoContent || a.Header.Get("Accept-Post") == "" { // no question of a browser
		t.Errorf("OPTIONS /v1/whip: %s %v", a.Status, a.Header)
	}
}

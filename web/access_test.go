package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"detections/session/wire"
	"detections/web/auth"
)

// guarded is a house that wants to know who asks, and its log.
type guarded struct {
	*house
	log  *record
	keys map[string]string // by name
}

// record keeps a log for a look at it.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

const (
	issuer   = "https://login.example.org"
	audience = "detections"
)

var sharedSecret = []byte("a secret that is shared with the issuer")

// token is signed by the issuer, and changed by edit before; nil: it is as it should be.
func token(t *testing.T, subject, roles string, edit func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": issuer, "aud": audience, "sub": subject, "roles": roles, "exp": time.Now().Add(time.Hour).Unix()}
	if edit != nil {
		edit(claims)
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(sharedSecret)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newGuarded makes a house with a key for each of "name role".
func newGuarded(t *testing.T, o options, names ...string) *guarded {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	g := &guarded{keys: map[string]string{}, log: &record{}}
	var all []auth.Key
	for _, n := range names {
		name, role, _ := strings.Cut(n, " ")
		k, text, err := auth.NewKey(name, role)
		if err != nil {
			t.Fatal(err)
		}
		all, g.keys[n] = append(all, k), text
	}
	if err := auth.WriteKeys(path, all); err != nil {
		t.Fatal(err)
	}
	o.logger = slog.New(slog.NewJSONHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys, err := auth.OpenKeys(path, o.logger)
	if err != nil {
		t.Fatal(err)
	}
	o.auth, err = auth.New(auth.Config{Keys: keys, Issuers: []auth.Issuer{{Name: issuer, Secret: sharedSecret}}, Audience: []string{audience}, Logger: o.logger})
	if err != nil {
		t.Fatal(err)
	}
	g.house = newHouse(t, o)
	return g
}

// as makes a request with somebody's key or token.
func (g *guarded) as(who, method, path string, body io.Reader, headers ...string) *http.Response {
	g.t.Helper()
	if k := g.keys[who]; k != "" {
		who = k
	}
	return g.do(method, path, body, append(headers, "Authorization", "Bearer "+who)...)
}

// socket opens a WebSocket as somebody; a nil connection: the answer says why not.
func (g *guarded) socket(path, who string, more ...string) (*websocket.Conn, *http.Response) {
	g.t.Helper()
	h := http.Header{}
	if k := g.keys[who]; k != "" {
		who = k
	}
	if who != "" {
		h.Set("Authorization", "Bearer "+who)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	g.t.Cleanup(cancel)
	c, answer, err := websocket.Dial(ctx, strings.Replace(g.URL, "http", "ws", 1)+path, &websocket.DialOptions{
		HTTPHeader: h, Subprotocols: append([]string{wire.Subprotocol}, more...),
	})
	if err != nil {
		return nil, answer
	}
	g.t.Cleanup(func() { _ = c.CloseNow() })
	return c, answer
}

// say sends a message, and reads the answer.
func (g *guarded) say(c *websocket.Conn, text string) (m message) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		g.t.Fatal(err)
	}
	return g.hear(c)
}

func (g *guarded) hear(c *websocket.Conn) (m message) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	_, answer, err := c.Read(ctx)
	if err != nil || json.Unmarshal(answer, &m) != nil {
		g.t.Fatalf("%s %v", answer, err)
	}
	return m
}

// closed reads up to the end, and checks how the hub closed.
func (g *guarded) closed(c *websocket.Conn, want websocket.StatusCode) {
	g.t.Helper()
	for {
		if _, _, err := c.Read(g.t.Context()); err != nil {
			if got := websocket.CloseStatus(err); got != want {
				g.t.Errorf("closed %d, want %d", got, want)
			}
			return
		}
	}
}

func TestEveryRouteTakesItsRole(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{}, "rita read", "sam stream", "ada admin")
	open := []string{"GET /health", "GET /livez", "GET /readyz", "GET /{$}", "OPTIONS /v1/whip", "GET /page/", "GET /clients", "GET /reference", "GET /openapi.json", "GET /asyncapi.json"}
	for pattern, role := range g.face.Routes() {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{$}", "", "{id}", "nosuch", "{media_id}", "nosuch").Replace(path)
		try := func(who string) int {
			if path == "/detect/stream" && who != "" {
				return http.StatusOK // it would go on for ever
			}
			a := g.do(method, path, nil)
			if who != "" {
				a = g.as(who, method, path, nil)
			}
			if a.StatusCode == http.StatusUnauthorized && a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: 401 does not say how", pattern)
			}
			return a.StatusCode
		}
		if role == 0 != slices.Contains(open, pattern) {
			t.Errorf("%s is open to everybody: %v", pattern, role == 0)
		}
		if got := try(""); (got == http.StatusUnauthorized) != (role != 0) {
			t.Errorf("%s without a token: %d", pattern, got)
		}
		if role == 0 {
			continue
		}
		for who, has := range map[string]auth.Role{"rita read": auth.Read, "sam stream": auth.Read | auth.Stream, "ada admin": auth.Read | auth.Stream | auth.Admin} {
			if got := try(who); (got == http.StatusForbidden) != (has&role != role) || got == http.StatusUnauthorized {
				t.Errorf("%s as %s: %d", pattern, who, got)
			}
		}
	}
}

func TestProbesTellStrangersLittle(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{}, "rita read")
	for who, want := range map[string]string{"": "", "nobody": "", "rita read": "squares@"} {
		a := g.get("/health")
		if who != "" {
			a = g.as(who, "GET", "/health", nil)
		}
		var h struct {
			AIAvailability, Model, Version string
			Sessions                       *int
		}
		g.object(a, http.StatusOK, &h)
		if h.AIAvailability != "ENABLED" || !strings.HasPrefix(h.Model, want) || (h.Sessions == nil) != (want == "") || (h.Version == "") != (want == "") {
			t.Errorf("%q is told %+v", who, h)
		}
	}
}

// Whatever door bob takes, he finds nothing of alice's; an admin finds it all.
func TestSessionsBelongToTheirPrincipal(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{}, "alice stream", "bob stream", "ada admin", "alice read")
	film := video(5)
	tail := g.events(g.as("bob stream", "GET", "/detect/stream", nil))
	all := g.events(g.as("ada admin", "GET", "/detect/stream", nil))
	c, _ := g.socket("/v1/session", "alice stream")
	started := g.say(c, `{"type":"start","key":"mine","media":{"id":"m-1"}}`)
	if err := c.Write(t.Context(), websocket.MessageBinary, film); err != nil {
		t.Fatal(err)
	}
	lines := g.as("alice stream", "POST", "/detect/video?name=past.mp4", bytes.NewReader(film), "Accept", "application/x-ndjson")
	_, end := g.lines(lines)
	var list struct{ Sessions []shown }
	g.object(g.as("alice stream", "GET", "/v1/sessions", nil), http.StatusOK, &list)
	if len(list.Sessions) != 2 || end.Outcome != wire.Done {
		t.Fatalf("alice has %+v", list.Sessions)
	}
	past := list.Sessions[slices.IndexFunc(list.Sessions, func(s shown) bool { return s.End != nil })]
	sum, live := past.End.MediaSHA256, started.Session
	for _, path := range []string{
		"GET /v1/sessions/%s", "GET /v1/sessions/%s/results", "GET /v1/sessions/%s/results?format=ndjson", "GET /v1/sessions/%s/results?format=csv",
		"GET /detect/stream?session=%s", "POST /v1/sessions/%s/cancel", "DELETE /v1/sessions/%s",
	} {
		method, path, _ := strings.Cut(path, " ")
		for _, id := range []string{live, past.Session} {
			g.problem(g.as("bob stream", method, fmt.Sprintf(path, id), nil), http.StatusNotFound, wire.UnknownSession, "there is no session")
			if method == http.MethodGet {
				continue
			}
			g.problem(g.as("alice read", method, fmt.Sprintf(path, id), nil), http.StatusForbidden, wire.Forbidden, "takes the role stream")
		}
	}
	for _, path := range []string{"/v1/media/" + sum, "/detect/stream?media=" + sum, "/detect/stream?media=m-1"} {
		g.problem(g.as("bob stream", "GET", path, nil), http.StatusNotFound, wire.UnknownMedia, "")
	}
	g.object(g.as("bob stream", "GET", "/v1/sessions", nil), http.StatusOK, &list)
	if len(list.Sessions) != 0 {
		t.Errorf("bob is shown %+v", list.Sessions)
	}
	for _, say := range []string{
		fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, live), fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, past.Session),
		fmt.Sprintf(`{"type":"resume","session":%q,"token":%q,"epoch":%q,"offset":0}`, live, started.Token, started.Epoch),
	} {
		thief, _ := g.socket("/v1/session", "bob stream")
		if m := g.say(thief, say); m.Code != wire.UnknownSession {
			t.Errorf("%s: %+v", say, m)
		}
		g.closed(thief, 4505)
	}
	reader, _ := g.socket("/v1/session", "alice read")
	if m := g.say(reader, fmt.Sprintf(`{"type":"watch","session":%q,"offset":0}`, live)); m.Type != wire.TypeStarted || m.Token != "" {
		t.Errorf("a reader of alice's own: %+v", m)
	}
	if m := g.say(must(g.socket("/v1/session", "alice read")), `{"type":"start"}`); m.Code != wire.Forbidden {
		t.Errorf("a reader starts: %+v", m)
	}
	// The same key and the same bytes are another session's.
	own, _ := g.socket("/v1/session", "bob stream")
	m := g.say(own, fmt.Sprintf(`{"type":"start","key":"mine","media":{"sha256":%q}}`, sum))
	if m.Session == "" || m.Session == live || m.Session == past.Session || m.Bytes != 0 {
		t.Errorf("bob's own: %+v", m)
	}
	if err := own.Write(t.Context(), websocket.MessageBinary, film); err != nil {
		t.Fatal(err)
	}
	if err := own.Write(t.Context(), websocket.MessageText, []byte(`{"type":"eof"}`)); err != nil {
		t.Fatal(err)
	}
	// The live tail has his own events, from the first on, and nothing else; the admin's has all.
	if ev := tail.until("an end", func(m message) bool { return m.Type == wire.TypeEnd }); ev.Session != m.Session {
		t.Errorf("bob's tail: %s", ev.data)
	}
	for _, ev := range tail.log {
		if ev.Session != m.Session {
			t.Errorf("bob's tail: %s", ev.data)
		}
	}
	for _, id := range []string{live, past.Session, m.Session} {
		var one struct{ Principal string }
		g.object(g.as("ada admin", "GET", "/v1/sessions/"+id, nil), http.StatusOK, &one)
		if !slices.Contains([]string{"key:alice", "key:bob"}, one.Principal) {
			t.Errorf("ada sees %+v", one)
		}
	}
	all.until("bob's end", func(e message) bool { return e.Type == wire.TypeEnd && e.Session == m.Session })
	if !slices.ContainsFunc(all.log, func(e event) bool { return e.Session == live }) {
		t.Error("the admin's tail lacks alice's session")
	}
	g.object(g.as("ada admin", "POST", "/v1/sessions/"+live+"/cancel", nil), http.StatusOK, new(struct{}))
	g.keepsSecrets(started.Token)
}

func must(c *websocket.Conn, _ *http.Response) *websocket.Conn { return c }

// keepsSecrets says which secrets stand in the log.
func (g *guarded) keepsSecrets(more ...string) {
	g.t.Helper()
	text := g.log.String()
	for _, k := range g.keys {
		more = append(more, k)
	}
	for _, secret := range more {
		if secret != "" && strings.Contains(text, secret) {
			g.t.Errorf("the log contains the secret %.8s…", secret)
		}
	}
}

func TestTokensComeByHeaderOrSubprotocol(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{}, "sam stream")
	good := token(t, "sam", "stream", nil)
	for _, c := range []struct {
		header, protocol string
		ok               bool
	}{
		{good, "", true},
		{"", good, true},
		{"sam stream", "", true},
		{"", g.keys["sam stream"], true},
		{"", "", false},
		{good, good, false},
		{"", good + "x", false},
	} {
		var more []string
		if c.protocol != "" {
			more = []string{auth.Protocol + c.protocol}
		}
		conn, answer := g.socket("/v1/session", c.header, more...)
		if (conn != nil) != c.ok || !c.ok && answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("header %.5q, subprotocol %.5q: %v", c.header, c.protocol, answer.Status)
		}
		if conn != nil && conn.Subprotocol() != wire.Subprotocol {
			t.Errorf("the hub chose %.20q", conn.Subprotocol())
		}
	}
	_, _, err := websocket.Dial(t.Context(), strings.Replace(g.URL, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{auth.Protocol + good}})
	if err == nil || strings.Contains(err.Error(), good) {
		t.Errorf("without the protocol itself: %v", err)
	}
	a := g.do("GET", "/v1/session", nil, "Upgrade", "websocket", "Connection", "Upgrade", "Sec-WebSocket-Protocol", auth.Protocol+good)
	if text, _ := io.ReadAll(a.Body); strings.Contains(string(text), good) {
		t.Errorf("the refusal repeats the token: %s", text)
	}
	g.problem(g.get("/v1/sessions?access_token="+good+"&token="+good), http.StatusUnauthorized, wire.Unauthorized, "Authorization: Bearer")
	g.problem(g.get("/v1/sessions", "Authorization", "Basic "+good), http.StatusUnauthorized, wire.Unauthorized, "Authorization: Bearer")
	g.keepsSecrets(good)
}

func TestTicketsAreGoodOnce(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{}, "sam stream", "rita read")
	ticket := func(who string) string {
		var answer struct {
			Ticket  string
			Expires int `json:"expires_s"`
		}
		a := g.as(who, "POST", "/v1/tickets", nil)
		if err := json.NewDecoder(a.Body).Decode(&answer); err != nil || a.StatusCode != http.StatusCreated || answer.Expires < 1 || answer.Expires > 30 {
			t.Fatalf("%s %+v %v", a.Status, answer, err)
		}
		return answer.Ticket
	}
	first, second, third := ticket("sam stream"), ticket("sam stream"), ticket("rita read")
	c, _ := g.socket("/v1/session?ticket="+first, "")
	started := g.say(c, `{"type":"start"}`)
	if started.Session == "" {
		t.Fatalf("%+v", started)
	}
	if c, answer := g.socket("/v1/session?ticket="+first, ""); c != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same ticket again: %v", answer)
	}
	g.events(g.get("/detect/stream?session=" + started.Session + "&ticket=" + second))
	g.problem(g.get("/detect/stream?session="+started.Session+"&ticket="+second), http.StatusUnauthorized, wire.Unauthorized, "was used")
	c, _ = g.socket("/v1/session?ticket="+third, "")
	if m := g.say(c, `{"type":"start"}`); m.Code != wire.Forbidden {
		t.Errorf("a reader's ticket: %+v", m)
	}
	g.closed(c, 4500)
	fourth := ticket("sam stream")
	g.problem(g.get("/v1/sessions?ticket="+fourth), http.StatusUnauthorized, wire.Unauthorized, "Authorization: Bearer") // only where headers cannot be set
	g.problem(g.do("POST", "/v1/tickets?ticket="+fourth, nil), http.StatusUnauthorized, wire.Unauthorized, "Authorization: Bearer")
	g.problem(g.as("sam stream", "GET", "/detect/stream?session=x&ticket="+fourth, nil), http.StatusUnauthorized, wire.Unauthorized, "got both")
	g.keepsSecrets(first, second, third, fourth)
}

func TestExpiredTokenEndsNewActionsOnly(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{})
	// The hub allows for clocks that differ by half a minute.
	short := token(t, "sam", "stream", func(c jwt.MapClaims) { c["exp"] = float64(time.Now().UnixMilli())/1000 - 26 })
	c, _ := g.socket("/v1/session", short)
	if started := g.say(c, `{"type":"start"}`); started.Session == "" {
		t.Fatalf("%+v", started)
	}
	tail := g.events(g.as(short, "GET", "/detect/stream", nil))
	for more := true; more; { // until the token expires
		_, more = tail.next()
	}
	g.problem(g.as(short, "GET", "/v1/sessions", nil), http.StatusUnauthorized, wire.Unauthorized, "has expired")
	if conn, answer := g.socket("/v1/session", short); conn != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("another session: %v", answer)
	}
	say := func(kind websocket.MessageType, p []byte) {
		if err := c.Write(t.Context(), kind, p); err != nil {
			t.Fatal(err)
		}
	}
	say(websocket.MessageText, []byte(`{"type":"configure","id":"c","sample":{"every":2}}`))
	say(websocket.MessageBinary, video(3))
	say(websocket.MessageText, []byte(`{"type":"eof"}`))
	refused := false
	for m := g.hear(c); m.Type != wire.TypeEnd; m = g.hear(c) {
		refused = refused || m.Code == wire.Unauthorized
	}
	if !refused {
		t.Error("a change was taken from an expired token")
	}
	g.closed(c, websocket.StatusNormalClosure)
}

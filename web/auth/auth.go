// Package auth says who asks and what he may do: by API keys, by JSON Web Tokens, and
// by tickets for browsers, which cannot send a header with everything.
//
// Whoever lets somebody in asks Identify, and Identity.May before each action. A token
// that expires ends new actions, not what is running.
package auth

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"detections/session/wire"
)

// Role is what somebody may do; roles can be joined by |.
type Role uint8

// The roles. Stream contains Read: who sends a video may see what is found in it.
const (
	// Read: see one's own sessions, their results and the class list.
	Read Role = 1 << iota
	// Stream: start, feed, change, stop and delete one's own sessions; send pictures.
	Stream
	// Admin: see, stop and delete everybody's sessions; the outbox and metrics.
	Admin
)

var roleNames = []struct {
	name string
	role Role
}{{"read", Read}, {"stream", Stream | Read}, {"admin", Admin | Stream | Read}}

// String names the least role that contains r.
func (r Role) String() string {
	for _, n := range roleNames {
		if r != 0 && n.role&r == r {
			return n.name
		}
	}
	return "none"
}

// roleOf is the role of a name; 0: there is none.
func roleOf(name string) Role {
	for _, n := range roleNames {
		if n.name == name {
			return n.role
		}
	}
	return 0
}

// Identity is who asks.
type Identity struct {
	// Principal owns what he starts. Those of API keys are "key:name", those of tokens
	// "issuer#subject", so neither can be taken for the other.
	Principal string
	Roles     Role
	// Expires ends new actions; zero: never.
	Expires time.Time
}

// Local is everybody where authentication is off.
var Local = Identity{Principal: "local", Roles: Admin | Stream | Read}

// May says whether he may do something now; the error is a *wire.Error.
func (i Identity) May(r Role) error {
	switch {
	case !i.Expires.IsZero() && !time.Now().Before(i.Expires):
		return wire.Errorf(wire.Unauthorized, "the token has expired; come back with a new one")
	case i.Roles&r != r:
		return wire.Errorf(wire.Forbidden, "this takes the role %s; the token has the role %s", r, i.Roles)
	}
	return nil
}

// Expired is closed when the token expires; stop forgets it.
func (i Identity) Expired() (expired <-chan struct{}, stop func()) {
	c := make(chan struct{})
	if i.Expires.IsZero() {
		return c, func() {}
	}
	t := time.AfterFunc(time.Until(i.Expires), func() { close(c) })
	return c, func() { t.Stop() }
}

// MaxToken bounds a token, in bytes.
const MaxToken = 8 << 10

// leeway is by how much clocks may differ.
const leeway = 30 * time.Second

// Config is what an Authenticator is made of.
type Config struct {
	// Keys are API keys; nil: there are none.
	Keys *Keys
	// Issuers are whose tokens are taken.
	Issuers []Issuer
	// Audience is who the tokens must be for: one of these. Required with Issuers.
	Audience []string
	// RolesClaim is the claim with the roles, a list or words with spaces between;
	// default "roles".
	RolesClaim string
	// MaxAge is for how long a token may be good, from its iat to its exp; 0: for any time.
	MaxAge time.Duration
	Logger *slog.Logger
}

// Authenticator knows who asks. It can be used from any goroutine.
type Authenticator struct {
	keys    *Keys
	tokens  *tokens // nil: no issuers
	tickets tickets
}

// New makes an Authenticator.
func New(c Config) (*Authenticator, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authenticator{keys: c.Keys}
	if len(c.Issuers) > 0 {
		t, err := newTokens(c)
		if err != nil {
			return nil, err
		}
		a.tokens = t
	}
	if a.keys == nil && a.tokens == nil {
		return nil, errors.New("authentication without API keys and without an issuer of tokens would let nobody in")
	}
	return a, nil
}

// Protocol is the WebSocket subprotocol that carries a token where no header can be set.
const Protocol = "bearer."

// Identify says who makes a request. Without a token, or with one that is not valid,
// the error is a *wire.Error of code Unauthorized; Overloaded if that cannot be known now.
func (a *Authenticator) Identify(r *http.Request) (Identity, error) {
	if a == nil {
		return Local, nil
	}
	token, err := tokenOf(r)
	if err != nil {
		return Identity{}, err
	}
	ticket := ticketOf(r)
	switch {
	case token != "" && ticket != "":
		return Identity{}, wire.Errorf(wire.Unauthorized, "expected a token or a ticket, got both")
	case ticket != "":
		return a.tickets.use(ticket)
	case token == "":
		return Identity{}, wire.Errorf(wire.Unauthorized, "this hub wants to know who asks: send 'Authorization: Bearer TOKEN'; a browser's WebSocket the second subprotocol '%sTOKEN', or ?ticket= from POST /v1/tickets", Protocol)
	}
	return a.verify(token)
}

func (a *Authenticator) verify(token string) (Identity, error) {
	switch {
	case len(token) > MaxToken:
		return Identity{}, wire.Errorf(wire.Unauthorized, "the token has %d bytes; at most %d are read", len(token), MaxToken)
	case strings.HasPrefix(token, keyPrefix):
		return a.keys.identify(token)
	case a.tokens == nil:
		return Identity{}, wire.Errorf(wire.Unauthorized, "this is no API key of this hub, and other tokens are not taken")
	}
	return a.tokens.identify(token)
}

// tokenOf finds the token of a request; empty: there is none.
func tokenOf(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return "", wire.Errorf(wire.Unauthorized, "expected one Authorization header, got %d", len(headers))
	}
	token := ""
	if len(headers) == 1 {
		scheme, rest, _ := strings.Cut(headers[0], " ")
		if token = strings.TrimSpace(rest); !strings.EqualFold(scheme, "Bearer") || token == "" {
			return "", wire.Errorf(wire.Unauthorized, "expected 'Authorization: Bearer TOKEN'")
		}
	}
	if r.Header.Get("Upgrade") == "" {
		return token, nil
	}
	for p := range protocols(r) {
		rest, ok := strings.CutPrefix(p, Protocol)
		switch {
		case !ok:
		case token != "" || rest == "":
			return "", wire.Errorf(wire.Unauthorized, "expected one token, as the header or as one subprotocol")
		default:
			token = rest
		}
	}
	return token, nil
}

// protocols are the subprotocols that a WebSocket client offers.
func protocols(r *http.Request) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range r.Header.Values("Sec-WebSocket-Protocol") {
			for p := range strings.SplitSeq(v, ",") {
				if !yield(strings.TrimSpace(p)) {
					return
				}
			}
		}
	}
}

// digest is what is kept of a secret.
type digest = [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

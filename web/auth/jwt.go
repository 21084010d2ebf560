package auth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"detections/session/wire"
)

// Issuer is somebody whose tokens are taken. It has a secret or the URL of a key set,
// never both: a public key must not be taken for a secret.
type Issuer struct {
	// Name is the iss claim, exactly.
	Name string
	// Secret is shared with the issuer, who signs by HS256, HS384 or HS512: 32 bytes or more.
	Secret []byte
	// JWKS is the URL of the issuer's public keys: https, or http on this machine.
	JWKS string
}

// minSecret is the least length of a shared secret, in bytes: RFC 7518 section 3.2.
const minSecret = 32

const (
	maxSubject = 255 // bytes
	maxKeyID   = 256 // bytes
)

// secretMethods are the algorithms of shared secrets, publicMethods those of key sets.
// "none" is in neither.
var (
	secretMethods = []string{"HS256", "HS384", "HS512"}
	publicMethods = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// tokens verifies JSON Web Tokens.
type tokens struct {
	issuers map[string]keyFinder
	parser  *jwt.Parser
	claim   string

	mu   sync.Mutex
	seen map[digest]seen // guarded by mu: tokens that were good a moment ago
}

// seen is a token that was verified.
type seen struct {
	Identity
	at time.Time
}

const (
	// seenTime is how long a token need not be verified again: a signature takes up to
	// 50 µs, and many clients send one with every picture.
	seenTime = time.Minute
	maxSeen  = 4096
)

// keyFinder gives the key that a token says it is signed with.
type keyFinder interface {
	find(method, id string) (any, error)
}

func newTokens(c Config) (*tokens, error) {
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		return nil, errors.New("tokens need an audience: without one, a token for another service would be taken here")
	}
	t := &tokens{issuers: map[string]keyFinder{}, seen: map[digest]seen{}, claim: cmp.Or(c.RolesClaim, "roles")}
	var methods []string
	for _, i := range c.Issuers {
		f, allowed, err := newFinder(i, c.Logger)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", i.Name, err)
		}
		if t.issuers[i.Name] != nil {
			return nil, fmt.Errorf("issuer %q is named twice", i.Name)
		}
		t.issuers[i.Name], methods = f, append(methods, allowed...)
	}
	t.parser = jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithAudience(c.Audience...), jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding())
	return t, nil
}

func newFinder(i Issuer, log *slog.Logger) (keyFinder, []string, error) {
	switch {
	case i.Name == "" || strings.ContainsAny(i.Name, "#") || strings.HasPrefix(i.Name, "key:"):
		return nil, nil, errors.New("expected the exact iss claim of its tokens, without '#'")
	case (len(i.Secret) > 0) == (i.JWKS != ""):
		return nil, nil, errors.New("expected a shared secret or the URL of a key set")
	case i.JWKS != "":
		s, err := newKeySet(i.JWKS, log)
		return s, publicMethods, err
	case len(i.Secret) < minSecret:
		return nil, nil, fmt.Errorf("the shared secret has %d bytes; at least %d are needed", len(i.Secret), minSecret)
	}
	return secret(i.Secret), secretMethods, nil
}

// secret is the one key of an issuer.
type secret []byte

func (s secret) find(method, _ string) (any, error) {
	if !slices.Contains(secretMethods, method) {
		return nil, wire.Errorf(wire.Unauthorized, "the token is not signed as its issuer's are: %.20q", method)
	}
	return []byte(s), nil
}

// identify says whose token a text is.
func (t *tokens) identify(text string) (Identity, error) {
	d, now := digestOf(text), time.Now()
	t.mu.Lock()
	s, ok := t.seen[d]
	t.mu.Unlock()
	if ok && now.Sub(s.at) < seenTime && now.Before(s.Expires) {
		return s.Identity, nil
	}
	id, err := t.verify(text)
	if err != nil {
		return Identity{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.seen) >= maxSeen {
		clear(t.seen)
	}
	t.seen[d] = seen{id, now}
	return id, nil
}

func (t *tokens) verify(text string) (Identity, error) {
	claims := jwt.MapClaims{}
	if _, err := t.parser.ParseWithClaims(text, claims, t.key); err != nil {
		return Identity{}, refusal(err)
	}
	issuer, _ := claims.GetIssuer() // the key was found by it
	subject, _ := claims["sub"].(string)
	if err := checkSubject(subject); err != nil {
		return Identity{}, err
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return Identity{}, wire.Errorf(wire.Unauthorized, "the token does not say when it expires")
	}
	id := Identity{Principal: issuer + "#" + subject, Expires: expires.Add(leeway)}
	for _, name := range words(claims[t.claim]) {
		id.Roles |= roleOf(strings.TrimPrefix(name, "detections:"))
	}
	if id.Roles == 0 {
		return Identity{}, wire.Errorf(wire.Forbidden, "the token has no role here: its claim %q must contain read, stream or admin", t.claim)
	}
	return id, nil
}

// key finds the key of a token that was not verified yet: nothing in it says where
// keys are to be found, only which of the issuer's own.
func (t *tokens) key(token *jwt.Token) (any, error) {
	if token.Header["crit"] != nil {
		return nil, wire.Errorf(wire.Unauthorized, "the token demands extensions (crit); none are known here")
	}
	issuer, err := token.Claims.GetIssuer()
	finder := t.issuers[issuer]
	if err != nil || finder == nil {
		return nil, wire.Errorf(wire.Unauthorized, "the token's issuer %.100q is not one of this hub's", issuer)
	}
	id, ok := token.Header["kid"].(string)
	if !ok && token.Header["kid"] != nil || len(id) > maxKeyID {
		return nil, wire.Errorf(wire.Unauthorized, "the token's kid is no text of at most %d bytes", maxKeyID)
	}
	return finder.find(token.Method.Alg(), id)
}

// checkSubject keeps what would be confusing out of principals' names.
func checkSubject(s string) error {
	if s == "" || len(s) > maxSubject || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return wire.Errorf(wire.Unauthorized, "the token's sub is no text of 1 to %d bytes without control characters", maxSubject)
	}
	return nil
}

// words are those of a claim: a list, or one text with spaces.
func words(claim any) []string {
	switch v := claim.(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var all []string
		for _, w := range v {
			if s, ok := w.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}

// refusal is what is wrong with a token, in words that repeat nothing of it.
func refusal(err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	for _, known := range []struct {
		err   error
		words string
	}{
		{jwt.ErrTokenMalformed, "the token is no JSON Web Token"},
		{jwt.ErrTokenUnverifiable, "the token's signature cannot be checked"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature or algorithm is not valid"},
		{jwt.ErrTokenExpired, "the token has expired; come back with a new one"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "the token was issued in the future"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks one of exp, aud"},
	} {
		if errors.Is(err, known.err) {
			return wire.Errorf(wire.Unauthorized, "%s", known.words)
		}
	}
	return wire.Errorf(wire.Unauthorized, "the token is not valid")
}

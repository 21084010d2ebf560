package auth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
	maxAge  time.Duration // 0: any
	seen    seen
}

// keyFinder knows an issuer's keys.
type keyFinder interface {
	// find gives the key that a token says it is signed with, and the version of the
	// keys that it is one of.
	find(method, id string) (key any, version uint64, err error)
	// version is that of the keys that are in force; 0: find must see about them.
	version() uint64
}

func newTokens(c Config) (*tokens, error) {
	if len(c.Audience) == 0 || slices.Contains(c.Audience, "") {
		return nil, errors.New("tokens need an audience: without one, a token for another service would be taken here")
	}
	t := &tokens{issuers: map[string]keyFinder{}, claim: cmp.Or(c.RolesClaim, "roles"), maxAge: c.MaxAge}
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

// secret is the one key of an issuer, for as long as the process lives.
type secret []byte

// secretVersion is the only one there is.
const secretVersion = 1

func (s secret) find(method, _ string) (any, uint64, error) {
	if !slices.Contains(secretMethods, method) {
		return nil, 0, wire.Errorf(wire.Unauthorized, "the token is not signed as its issuer's are: %.20q", method)
	}
	return []byte(s), secretVersion, nil
}

func (s secret) version() uint64 { return secretVersion }

// identify says whose token a text is.
func (t *tokens) identify(text string) (Identity, error) {
	d, now := digestOf(text), time.Now()
	if id, ok := t.seen.find(d, now); ok {
		return id, nil
	}
	good := seenToken{at: now}
	var err error
	if good.Identity, err = t.verify(text, &good); err != nil {
		return Identity{}, err
	}
	t.seen.add(d, good)
	return good.Identity, nil
}

// verify says whose token a text is, and with what it was verified.
func (t *tokens) verify(text string, with *seenToken) (Identity, error) {
	claims := jwt.MapClaims{}
	key := func(token *jwt.Token) (any, error) {
		finder, id, err := t.finder(token)
		if err != nil {
			return nil, err
		}
		key, version, err := finder.find(token.Method.Alg(), id)
		with.keys, with.by = finder, version
		return key, err
	}
	if _, err := t.parser.ParseWithClaims(text, claims, key); err != nil {
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
	if err := t.checkAge(claims, expires.Time); err != nil {
		return Identity{}, err
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

// checkAge refuses tokens that are good for too long: what leaks is then good for long
// too. One that does not say since when is measured from now.
func (t *tokens) checkAge(claims jwt.MapClaims, expires time.Time) error {
	since := time.Now()
	if issued, err := claims.GetIssuedAt(); err == nil && issued != nil {
		since = issued.Time
	}
	if t.maxAge > 0 && expires.Sub(since) > t.maxAge+leeway {
		return wire.Errorf(wire.Unauthorized, "the token is good for %v; at most %v are taken (setting jwt-max-age)", expires.Sub(since).Round(time.Second), t.maxAge)
	}
	return nil
}

// finder gives who knows the key of a token that was not verified yet, and the key's id:
// nothing in it says where keys are to be found, only which of the issuer's own.
func (t *tokens) finder(token *jwt.Token) (_ keyFinder, id string, err error) {
	if token.Header["crit"] != nil {
		return nil, "", wire.Errorf(wire.Unauthorized, "the token demands extensions (crit); none are known here")
	}
	issuer, err := token.Claims.GetIssuer()
	finder := t.issuers[issuer]
	if err != nil || finder == nil {
		return nil, "", wire.Errorf(wire.Unauthorized, "the token's issuer %.100q is not one of this hub's", issuer)
	}
	id, ok := token.Header["kid"].(string)
	if !ok && token.Header["kid"] != nil || len(id) > maxKeyID {
		return nil, "", wire.Errorf(wire.Unauthorized, "the token's kid is no text of at most %d bytes", maxKeyID)
	}
	return finder, id, nil
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

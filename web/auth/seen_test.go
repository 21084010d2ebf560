package auth

import (
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"detections/session/wire"
)

const anyIssuer = "https://login.example.org/"

// newVerifier has one issuer, whose server is in memory and has anyKey under these ids.
func newVerifier(t *testing.T, ids ...string) (*pretend, *tokens) {
	t.Helper()
	v, err := newTokens(Config{
		Issuers: []Issuer{{Name: anyIssuer, JWKS: "https://login.example.org/keys"}}, Audience: []string{"hub"}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	p, set := newPretend(t, ids...)
	v.issuers[anyIssuer] = set
	return p, v
}

// tokenOfKey makes a token that says it is signed by a key; it is by anyKey.
func tokenOfKey(t *testing.T, id string, expires time.Time, extra jwt.MapClaims) string {
	t.Helper()
	c := jwt.MapClaims{"iss": anyIssuer, "aud": "hub", "sub": "alice", "roles": "stream", "exp": expires.Unix()}
	maps.Copy(c, extra)
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	token.Header["kid"] = id
	text, err := token.SignedString(anyPrivate)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// wantToken checks whether a token is taken now.
func wantToken(t *testing.T, v *tokens, token string, want wire.Code) {
	t.Helper()
	id, err := v.identify(token)
	got := wire.Code("")
	if err != nil {
		got = wire.AsError(err).Code
	}
	if got != want || (id.Principal == anyIssuer+"#alice") != (want == "") {
		t.Errorf("%+v, %v; want %q", id, err, want)
	}
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

func TestATokenIsVerifiedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := newVerifier(t, "k")
		token := tokenOfKey(t, "k", time.Now().Add(time.Hour), nil)
		wantToken(t, v, token, "")
		d := digestOf(token)
		first := v.seen.tokens[d].at
		time.Sleep(seenTime - time.Millisecond)
		wantToken(t, v, token, "")
		if at := v.seen.tokens[d].at; at != first {
			t.Errorf("it was verified again after %v", at.Sub(first))
		}
		time.Sleep(time.Millisecond)
		wantToken(t, v, token, "")
		if at := v.seen.tokens[d].at; at.Sub(first) != seenTime {
			t.Errorf("it was verified again after %v", at.Sub(first))
		}
	})
}

func TestAWithdrawnKeyEndsTokensThatWereSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := newVerifier(t, "stolen")
		old, next := tokenOfKey(t, "stolen", time.Now().Add(time.Hour), nil), tokenOfKey(t, "new", time.Now().Add(time.Hour), nil)
		wantToken(t, v, old, "")
		p.set(nil, "new")
		time.Sleep(keysPause)
		wantToken(t, v, old, "")                // nobody knows yet
		wantToken(t, v, next, "")               // its key is asked for
		wantToken(t, v, old, wire.Unauthorized) // at once, within the minute
		wantToken(t, v, next, "")
	})
}

func TestTokensThatWereSeenEndWithTheirKeySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := newVerifier(t, "stolen")
		token := tokenOfKey(t, "stolen", time.Now().Add(time.Hour), nil)
		wantToken(t, v, token, "")
		time.Sleep(keysFresh - time.Second)
		wantToken(t, v, token, "") // seen a second before its keys are old
		p.set(nil, "new")
		time.Sleep(time.Second)
		wantToken(t, v, token, wire.Unauthorized)
	})
}

func TestATokenThatWasSeenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := newVerifier(t, "k")
		end := time.Now().Add(20 * time.Second)
		token := tokenOfKey(t, "k", end, nil)
		wantToken(t, v, token, "")
		time.Sleep(time.Until(end.Add(leeway)) - time.Nanosecond)
		wantToken(t, v, token, "")
		time.Sleep(time.Nanosecond)
		wantToken(t, v, token, wire.Unauthorized)
	})
}

func TestARefusedTokenIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, v := newVerifier(t, "k")
		early := tokenOfKey(t, "k", time.Now().Add(time.Hour), jwt.MapClaims{"nbf": time.Now().Add(time.Minute).Unix()})
		forged := early[:strings.LastIndexByte(early, '.')+1] + strings.Repeat("A", 86)
		for _, bad := range []string{early, forged, tokenOfKey(t, "unknown", time.Now().Add(time.Hour), nil), "", "a.b.c"} {
			for range 2 {
				wantToken(t, v, bad, wire.Unauthorized)
			}
		}
		wantToken(t, v, tokenOfKey(t, "k", time.Now().Add(time.Hour), jwt.MapClaims{"roles": "cook"}), wire.Forbidden)
		if n := v.seen.len(); n != 0 {
			t.Errorf("%d refused tokens are remembered", n)
		}
		time.Sleep(time.Minute)
		wantToken(t, v, early, "") // it is no longer early
	})
}

func TestTokensThatWereSeenAreBounded(t *testing.T) {
	t.Parallel()
	var s seen
	now := time.Now()
	keys := secret("")
	for i := range maxSeen + 100 {
		d := digestOf(fmt.Sprint(i))
		s.add(d, seenToken{Identity: Identity{Principal: "p", Expires: now.Add(time.Hour)}, at: now, keys: keys, by: secretVersion})
		if _, ok := s.find(d, now); !ok {
			t.Fatalf("token %d was not seen", i)
		}
	}
	if n := s.len(); n > maxSeen {
		t.Errorf("%d tokens", n)
	}
}

func TestTokensAreTakenByManyWhileKeysChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := newVerifier(t, "a", "b")
		a, b := tokenOfKey(t, "a", time.Now().Add(time.Hour), nil), tokenOfKey(t, "b", time.Now().Add(time.Hour), nil)
		var many sync.WaitGroup
		for range 8 {
			many.Go(func() {
				for range 30 {
					wantToken(t, v, a, "")
					_, _ = v.identify(b) // good until the hub knows better
					time.Sleep(keysFresh / 20)
				}
			})
		}
		time.Sleep(keysFresh / 2)
		p.set(nil, "a")
		many.Wait()
		wantToken(t, v, b, wire.Unauthorized)
	})
}

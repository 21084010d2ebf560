package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/session/wire"
)

// pretend is an issuer's server, in memory.
type pretend struct {
	mu    sync.Mutex
	ids   []string
	err   error
	asked int
	delay time.Duration
}

func (p *pretend) RoundTrip(*http.Request) (*http.Response, error) {
	time.Sleep(p.delay)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.err != nil {
		return nil, p.err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(setOf(p.ids...)))}, nil
}

var anyKey, anyPrivate, _ = ed25519.GenerateKey(rand.Reader)

func setOf(ids ...string) string {
	var all []string
	for _, id := range ids {
		all = append(all, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, id, base64.RawURLEncoding.EncodeToString(anyKey)))
	}
	return `{"keys":[` + strings.Join(all, ",") + `]}`
}

func (p *pretend) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *pretend) set(err error, ids ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids, p.err = ids, err
}

func newPretend(t *testing.T, ids ...string) (*pretend, *keySet) {
	t.Helper()
	s, err := newKeySet("https://login.example.org/keys", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := &pretend{ids: ids}
	s.http = &http.Client{Transport: p}
	return p, s
}

// expect checks what a key set answers, and how often it asked for that.
func expect(t *testing.T, p *pretend, s *keySet, id string, want wire.Code, asked int) {
	t.Helper()
	_, _, err := s.find("EdDSA", id)
	got := wire.Code("")
	if err != nil {
		got = wire.AsError(err).Code
	}
	if n := p.requests(); got != want || n != asked {
		t.Errorf("%q: %q after %d requests, want %q after %d", id, got, n, want, asked)
	}
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPretend(t, "old")
		expect(t, p, s, "old", "", 1)
		p.set(nil, "old", "new")
		expect(t, p, s, "new", wire.Unauthorized, 1) // it was asked just now
		time.Sleep(keysPause)
		expect(t, p, s, "new", "", 2)
		p.set(nil, "new")
		expect(t, p, s, "old", "", 2)
		time.Sleep(keysFresh)
		expect(t, p, s, "old", wire.Unauthorized, 3)
		expect(t, p, s, "new", "", 3)
	})
}

func TestUnknownKeysDoNotMakeTheHubAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPretend(t, "k")
		for i := range 10_000 {
			_, _, _ = s.find("EdDSA", fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		if n := p.requests(); n > 2 { // ten seconds have passed
			t.Errorf("asked %d times", n)
		}
	})
}

func TestIssuerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPretend(t)
		p.set(errors.New("no route to host"))
		expect(t, p, s, "k", wire.Overloaded, 1) // that is not the token's fault
		time.Sleep(keysPause)
		p.set(nil, "k")
		expect(t, p, s, "k", "", 2)
		p.set(errors.New("no route to host"))
		time.Sleep(keysFresh)
		expect(t, p, s, "k", "", 3) // what is known is good for a day
		time.Sleep(keysStale - keysFresh)
		expect(t, p, s, "k", wire.Overloaded, 4)
	})
}

func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := newPretend(t, "k")
		p.delay = time.Second
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if _, _, err := s.find("EdDSA", "k"); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		time.Sleep(keysFresh)
		begun := time.Now()
		go func() { _, _, _ = s.find("EdDSA", "k") }()
		synctest.Wait()
		if _, _, err := s.find("EdDSA", "k"); err != nil || time.Since(begun) > 0 {
			t.Errorf("who has a key waited for others: %v", err)
		}
		time.Sleep(2 * time.Second)
		if n := p.requests(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func TestKeySetsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "http://login.example.org/keys", "ftp://localhost/keys", "file:///etc/passwd", "https://", "https://user:secret@login.example.org/keys"} {
		if _, err := newKeySet(bad, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for name, set := range map[string]string{
		"no JSON": "<html>", "empty": `{"keys":[]}`, "symmetric": `{"keys":[{"kty":"oct","kid":"k","k":"AAAA"}]}`,
		"for encryption": strings.Replace(setOf("k"), `"kid"`, `"use":"enc","kid"`, 1), "for another algorithm": strings.Replace(setOf("k"), `"kid"`, `"alg":"HS256","kid"`, 1),
		"off the curve":         `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"` + strings.Repeat("A", 42) + `E","y":"` + strings.Repeat("A", 42) + `E"}]}`,
		"an even exponent":      `{"keys":[{"kty":"RSA","kid":"k","e":"Ag","n":"` + strings.Repeat("_", 342) + `"}]}`,
		"a huge modulus":        `{"keys":[{"kty":"RSA","kid":"k","e":"AQAB","n":"` + strings.Repeat("_", 5000) + `"}]}`,
		"a short Ed25519 key":   `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"AAAA"}]}`,
		"a curve of the future": `{"keys":[{"kty":"EC","crv":"P-999","kid":"k","x":"AAAA","y":"AAAA"}]}`,
	} {
		if keys, err := parseKeySet([]byte(set)); err == nil {
			t.Errorf("%s: %+v", name, keys)
		}
	}
	if keys, err := parseKeySet([]byte(setOf("k", "k", "l"))); err != nil || len(keys) != 2 {
		t.Errorf("the same id twice: %+v, %v", keys, err)
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(setOf("a", "b")))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeySet(text)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

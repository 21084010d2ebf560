package auth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"detections/session/wire"
	"detections/web/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const audience = "detections"

// login is an issuer with a key set.
type login struct {
	*httptest.Server
	mu       sync.Mutex
	set      string
	status   int
	requests int
}

func newLogin(t testing.TB) *login {
	t.Helper()
	l := &login{status: http.StatusOK}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.requests++
		if r.URL.Path != "/keys" {
			t.Errorf("the hub asks for %s", r.URL)
		}
		if l.status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(l.status)
		_, _ = w.Write([]byte(l.set))
	}))
	t.Cleanup(l.Close)
	return l
}

// publish makes these keys known by their ids.
func (l *login) publish(keys map[string]any) {
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	for id, k := range keys {
		set.Keys = append(set.Keys, jwkOf(id, k))
	}
	text, _ := json.Marshal(set)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set = string(text)
}

func (l *login) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func jwkOf(id string, key any) map[string]string {
	enc := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return map[string]string{"kty": "RSA", "kid": id, "use": "sig", "n": enc(k.N.Bytes()), "e": enc(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PrivateKey:
		point, _ := k.PublicKey.Bytes()
		return map[string]string{"kty": "EC", "kid": id, "crv": "P-256", "x": enc(point[1:33]), "y": enc(point[33:])}
	case ed25519.PrivateKey:
		return map[string]string{"kty": "OKP", "kid": id, "crv": "Ed25519", "x": enc(k[32:])}
	case []byte:
		return map[string]string{"kty": "oct", "kid": id, "k": enc(k)}
	}
	panic("no such key")
}

// keys are made once: RSA takes a while.
var keys = sync.OnceValue(func() (k struct {
	rsa, other *rsa.PrivateKey
	ec         *ecdsa.PrivateKey
	ed         ed25519.PrivateKey
},
) {
	k.rsa, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.other, _ = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, _ = ed25519.GenerateKey(rand.Reader)
	return k
})

// claims are good ones, for an hour.
func claims(issuer string) jwt.MapClaims {
	return jwt.MapClaims{"iss": issuer, "aud": audience, "sub": "alice", "roles": []string{"stream"}, "exp": time.Now().Add(time.Hour).Unix()}
}

// sign makes a token; header is added to its header.
func sign(t testing.TB, m jwt.SigningMethod, key any, c jwt.MapClaims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(m, c)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/sessions", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func newAuth(t testing.TB, issuers ...auth.Issuer) *auth.Authenticator {
	t.Helper()
	a, err := auth.New(auth.Config{Issuers: issuers, Audience: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func codeOf(err error) wire.Code {
	if err == nil {
		return ""
	}
	return wire.AsError(err).Code
}

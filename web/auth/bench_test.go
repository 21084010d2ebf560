package auth_test

import (
	"path/filepath"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"detections/web/auth"
)

// BenchmarkIdentify is what a request pays for who it comes from, with keys cached.
func BenchmarkIdentify(b *testing.B) {
	l, k := newLogin(b), keys()
	l.publish(map[string]any{"rsa": k.rsa, "ec": k.ec, "ed": k.ed})
	shared := make([]byte, 32)
	key, text, err := auth.NewKey("alice", "stream")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "keys")
	if err := auth.WriteKeys(path, []auth.Key{key}); err != nil {
		b.Fatal(err)
	}
	known, err := auth.OpenKeys(path, nil)
	if err != nil {
		b.Fatal(err)
	}
	config := auth.Config{
		Keys: known, Audience: []string{audience},
		Issuers: []auth.Issuer{{Name: l.URL, JWKS: l.URL + "/keys"}, {Name: "https://shared.example.org", Secret: shared}},
	}
	a, err := auth.New(config)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, token string }{
		{"APIKey", text},
		{"HS256", sign(b, jwt.SigningMethodHS256, shared, claims("https://shared.example.org"), nil)},
		{"RS256", sign(b, jwt.SigningMethodRS256, k.rsa, claims(l.URL), map[string]any{"kid": "rsa"})},
		{"ES256", sign(b, jwt.SigningMethodES256, k.ec, claims(l.URL), map[string]any{"kid": "ec"})},
		{"EdDSA", sign(b, jwt.SigningMethodEdDSA, k.ed, claims(l.URL), map[string]any{"kid": "ed"})},
	} {
		r := request(c.token)
		b.Run(c.name+"/again", func(b *testing.B) {
			for b.Loop() {
				if _, err := a.Identify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/first", func(b *testing.B) {
			for b.Loop() {
				a.Forget()
				if _, err := a.Identify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

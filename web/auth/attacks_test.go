package auth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"detections/session/wire"
	"detections/web/auth"
)

// attack is a token that must be refused.
type attack struct {
	name, token string
	words       string // of the refusal
}

type edit = func(jwt.MapClaims)

// attacks is the list of SECURITY.md. There are two issuers with key sets, good and
// evil, and one with a secret.
func attacks(t *testing.T, good, evil *login, weak *rsa.PrivateKey, shared []byte) []attack {
	t.Helper()
	k, rs, hs := keys(), jwt.SigningMethodRS256, jwt.SigningMethodHS256
	der, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	kid := map[string]any{"kid": "k1"}
	with := func(change edit) string {
		c := claims(good.URL)
		change(c)
		return sign(t, rs, k.rsa, c, kid)
	}
	set := func(name string, v any) string { return with(func(c jwt.MapClaims) { c[name] = v }) }
	without := func(name string) string { return with(func(c jwt.MapClaims) { delete(c, name) }) }
	head := func(h map[string]any) string { return sign(t, rs, k.rsa, claims(good.URL), h) }
	ok := head(kid)
	parts := strings.Split(ok, ".")
	enc := base64.RawURLEncoding.EncodeToString
	raw := func(header, payload string) string {
		return enc([]byte(header)) + "." + enc([]byte(payload)) + "." + parts[2]
	}
	payload, _ := json.Marshal(claims(good.URL))
	hour := time.Hour.Seconds()
	at := func(seconds float64) float64 { return float64(time.Now().Unix()) + seconds }
	return []attack{
		{"alg none", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(good.URL), kid), "algorithm"},
		{"alg none, no signature", raw(`{"alg":"none","kid":"k1"}`, string(payload))[:len(raw(`{"alg":"none","kid":"k1"}`, string(payload)))-len(parts[2])], "algorithm"},
		{"alg nOnE", raw(`{"alg":"nOnE","kid":"k1"}`, string(payload)), ""},
		{"alg empty", raw(`{"alg":"","kid":"k1"}`, string(payload)), ""},
		{"alg missing", raw(`{"kid":"k1"}`, string(payload)), ""},
		{"alg is no text", raw(`{"alg":1,"kid":"k1"}`, string(payload)), ""},
		{"HS256 with the public key as PEM", sign(t, hs, public, claims(good.URL), kid), "not for"},
		{"HS256 with the public key as DER", sign(t, hs, der, claims(good.URL), kid), "not for"},
		{"HS256 with the modulus", sign(t, hs, k.rsa.N.Bytes(), claims(good.URL), kid), "not for"},
		{"HS256 with an empty key", sign(t, hs, []byte{}, claims("https://shared.example.org"), nil), "signature"},
		{"HS256 with the secret, in the name of another issuer", sign(t, hs, shared, claims(good.URL), kid), "not for"},
		{"RS256 at an issuer with a secret", sign(t, rs, k.rsa, claims("https://shared.example.org"), kid), "not signed as"},
		{"ES256 at an RSA key", sign(t, jwt.SigningMethodES256, k.ec, claims(good.URL), kid), "not for"},
		{"RS256 at an elliptic key", sign(t, rs, k.rsa, claims(good.URL), map[string]any{"kid": "e1"}), "not for"},
		{"EdDSA at an RSA key", sign(t, jwt.SigningMethodEdDSA, k.ed, claims(good.URL), kid), "not for"},
		{"a weak key of the set", sign(t, rs, weak, claims(good.URL), map[string]any{"kid": "weak"}), "none of its issuer's"},
		{"a symmetric key of the set", sign(t, hs, shared, claims(good.URL), map[string]any{"kid": "oct"}), "not for"},
		{"another key under a known kid", sign(t, rs, k.other, claims(good.URL), kid), "signature"},
		{"an unknown kid", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "k9"}), "none of its issuer's"},
		{"the key of another issuer, and its kid", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "evil"}), "none of its issuer's"},
		{"the kid of another issuer's key, after it was cached", sign(t, rs, k.rsa, claims(evil.URL), kid), "none of its issuer's"},
		{"no kid, and there are many keys", head(nil), "none of its issuer's"},
		{"kid is a path", sign(t, hs, []byte(""), claims(good.URL), map[string]any{"kid": "../../../dev/null"}), "not for"},
		{"kid is SQL", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "k1' UNION SELECT 'x"}), "none of its issuer's"},
		{"kid is a URL", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": evil.URL + "/keys"}), "none of its issuer's"},
		{"kid has a NUL", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "k1\x00"}), "none of its issuer's"},
		{"kid is a list", head(map[string]any{"kid": []string{"k1"}}), "kid"},
		{"kid is long", head(map[string]any{"kid": strings.Repeat("k", 257)}), "kid"},
		{"jku", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "evil", "jku": evil.URL + "/jku"}), "none of its issuer's"},
		{"x5u", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "evil", "x5u": evil.URL + "/x5u"}), "none of its issuer's"},
		{"jwk in the header", sign(t, rs, k.other, claims(good.URL), map[string]any{"kid": "k1", "jwk": jwkOf("k1", k.other)}), "signature"},
		{"crit", head(map[string]any{"kid": "k1", "crit": []string{"b64"}, "b64": false}), "crit"},
		{"unknown issuer", sign(t, rs, k.rsa, claims("https://nobody.example.org"), kid), "issuer"},
		{"the issuer's name and more", set("iss", good.URL+"/"), "issuer"},
		{"issuer in other case", set("iss", strings.ToUpper(good.URL)), "issuer"},
		{"issuer is a list", set("iss", []string{good.URL}), "issuer"},
		{"no issuer", without("iss"), "issuer"},
		{"another audience", set("aud", "billing"), "audience"},
		{"audience in part", set("aud", "detections-admin"), "audience"},
		{"an empty audience", set("aud", ""), ""},
		{"audience is a number", set("aud", 1), ""},
		{"no audience", without("aud"), ""},
		{"expired", set("exp", at(-31)), "expired"},
		{"expired an hour ago", set("exp", at(-hour)), "expired"},
		{"no exp", without("exp"), ""},
		{"exp is text", set("exp", "2099-01-01"), ""},
		{"exp is negative", set("exp", -1), "expired"},
		{"good for two days", with(func(c jwt.MapClaims) { c["iat"], c["exp"] = at(-hour), at(48*hour) }), "jwt-max-age"},
		{"good for two days, and does not say since when", set("exp", at(48*hour)), "jwt-max-age"},
		{"good for ever", set("exp", 1e12), "jwt-max-age"},
		{"exp beyond all numbers", set("exp", 1e300), ""},
		{"nbf in the future", set("nbf", at(hour)), "not valid yet"},
		{"iat in the future", set("iat", at(hour)), "issued in the future"},
		{"no sub", without("sub"), "sub"},
		{"an empty sub", set("sub", ""), "sub"},
		{"sub is a number", set("sub", 7), "sub"},
		{"sub has a NUL", set("sub", "alice\x00"), "sub"},
		{"sub has a line break", set("sub", "alice\nadmin"), "sub"},
		{"a long sub", set("sub", strings.Repeat("a", 256)), "sub"},
		{"no roles", without("roles"), "role"},
		{"an unknown role", set("roles", "superuser"), "role"},
		{"roles is an object", set("roles", map[string]bool{"admin": true}), "role"},
		{"roles in other case", set("roles", "ADMIN"), "role"},
		{"one signature bit flipped", flip(ok), "signature"},
		{"signature cut off", ok[:len(ok)-len(parts[2])], "signature"},
		{"signature of another token", parts[0] + "." + strings.Split(set("sub", "admin"), ".")[1] + "." + parts[2], "signature"},
		{"two parts", parts[0] + "." + parts[1], "no JSON Web Token"},
		{"five parts, as encrypted ones have", ok + ".a.b", "no JSON Web Token"},
		{"padded base64", parts[0] + "=." + parts[1] + "." + parts[2], ""},
		{"standard base64", strings.ReplaceAll(ok, "_", "/"), ""},
		{"white space in it", parts[0] + "." + parts[1] + " ." + parts[2], ""},
		{"no JSON", raw("alg", "sub"), "no JSON Web Token"},
		{"JSON twice", raw(`{"alg":"RS256","kid":"k1"}{}`, string(payload)), ""},
		{"deep JSON", raw(`{"alg":"RS256","kid":"k1"}`, strings.Repeat("[", 3000)), ""},
		{"oversized", set("fill", strings.Repeat("x", auth.MaxToken)), "at most 8192"},
		{"an API key, and there are none", "dk_AAAAAAAAAAAAAAAAAAAAAAAAAA", "API key"},
		{"a lone point", ".", "no JSON Web Token"},
		{"two points", "..", "no JSON Web Token"},
		{"bytes", "\xff\xfe.\x00.\x01", ""},
	}
}

// flip changes a bit in the middle of the signature.
func flip(token string) string {
	b := []byte(token)
	i := len(b) - 100
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestAttacksOnTokens(t *testing.T) {
	t.Parallel()
	good, evil := newLogin(t), newLogin(t)
	shared := []byte(strings.Repeat("s", 32))
	k := keys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good.publish(map[string]any{"k1": k.rsa, "e1": k.ec, "d1": k.ed, "weak": weak, "oct": shared})
	evil.publish(map[string]any{"evil": k.other})
	var log bytes.Buffer
	a, err := auth.New(auth.Config{
		Issuers:  []auth.Issuer{{Name: good.URL, JWKS: good.URL + "/keys"}, {Name: evil.URL, JWKS: evil.URL + "/keys"}, {Name: "https://shared.example.org", Secret: shared}},
		Audience: []string{audience}, MaxAge: 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	works := func() {
		t.Helper()
		for _, token := range []string{
			sign(t, jwt.SigningMethodRS256, k.rsa, claims(good.URL), map[string]any{"kid": "k1"}), sign(t, jwt.SigningMethodPS512, k.rsa, claims(good.URL), map[string]any{"kid": "k1"}),
			sign(t, jwt.SigningMethodES256, k.ec, claims(good.URL), map[string]any{"kid": "e1"}), sign(t, jwt.SigningMethodEdDSA, k.ed, claims(good.URL), map[string]any{"kid": "d1"}),
			sign(t, jwt.SigningMethodRS256, k.other, claims(evil.URL), nil), // the only key needs no id
			sign(t, jwt.SigningMethodHS384, shared, claims("https://shared.example.org"), nil),
		} {
			if id, err := a.Identify(request(token)); err != nil || id.May(auth.Stream) != nil || id.May(auth.Admin) == nil || !strings.HasSuffix(id.Principal, "#alice") {
				t.Errorf("a good token: %+v, %v", id, err)
			}
		}
	}
	works()
	list := attacks(t, good, evil, weak, shared)
	for _, x := range list {
		id, err := a.Identify(request(x.token))
		if code := codeOf(err); code != wire.Unauthorized && code != wire.Forbidden || id != (auth.Identity{}) || !strings.Contains(err.Error(), x.words) {
			t.Errorf("%s: %+v, %v", x.name, id, err)
		}
		for part := range strings.SplitSeq(x.token, ".") {
			if len(part) > 20 && (strings.Contains(log.String(), part) || err != nil && strings.Contains(err.Error(), part)) {
				t.Errorf("%s: part of the token is repeated", x.name)
			}
		}
	}
	works()
	if g, e := good.asked(), evil.asked(); g > 2 || e > 2 {
		t.Errorf("%d attacks made the hub ask %d and %d times for keys", len(list), g, e)
	}
	t.Logf("%d attacks refused", len(list))
}

// Whatever is taken for a token, nobody is let in by it.
func FuzzToken(f *testing.F) {
	shared := []byte(strings.Repeat("s", 32))
	a := newAuth(f, auth.Issuer{Name: "https://shared.example.org", Secret: shared})
	good := sign(f, jwt.SigningMethodHS256, shared, claims("https://shared.example.org"), nil)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0..")
	f.Fuzz(func(t *testing.T, token string) {
		id, err := a.Identify(request(token))
		again, errAgain := a.Identify(request(token))
		if again != id || codeOf(errAgain) != codeOf(err) {
			t.Errorf("%q is %+v, and then %+v", token, id, again)
		}
		if strings.TrimSpace(token) != good && (err == nil || id != (auth.Identity{})) {
			t.Errorf("%q is %+v", token, id)
		}
	})
}

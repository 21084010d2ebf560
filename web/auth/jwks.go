package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"detections/session/wire"
)

// Limits of key sets.
const (
	// keysFresh is how long a set is used before it is fetched again; keys that are
	// not in it any more are refused from then on.
	keysFresh = 10 * time.Minute
	// keysStale is how long a set is used that cannot be fetched again.
	keysStale = 24 * time.Hour
	// keysPause is the least time between two requests, whatever tokens say.
	keysPause = 10 * time.Second
	keysTime  = 5 * time.Second // for one request
	maxKeySet = 256 << 10       // bytes
	maxKeys   = 100
	minRSA    = 2048 // bits
	maxRSA    = 8192 // bits
)

// keySet is one issuer's public keys, fetched when they are needed.
type keySet struct {
	url  string
	http *http.Client
	log  *slog.Logger

	mu       sync.Mutex
	keys     []publicKey   // guarded by mu
	fetched  time.Time     // guarded by mu
	fetches  uint64        // guarded by mu: counts what came
	tried    time.Time     // guarded by mu
	fetching chan struct{} // guarded by mu: closed when the request that runs has ended; nil: none runs
}

type publicKey struct {
	id      string
	methods []string
	key     any
}

func newKeySet(address string, log *slog.Logger) (*keySet, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(u.Hostname())
	here := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && here) {
		return nil, fmt.Errorf("key set %q: expected an https URL, or http on this machine", u.Redacted())
	}
	return &keySet{url: address, log: log, http: &http.Client{
		Timeout:       keysTime,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSHandshakeTimeout: keysTime},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the URL is that of the configuration
	}}, nil
}

// find implements keyFinder.
func (s *keySet) find(method, id string) (any, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := s.lookup(method, id)
	if key != nil && time.Since(s.fetched) < keysFresh {
		return key, s.fetches, nil
	}
	switch {
	case s.fetching != nil && key == nil:
		s.wait(s.fetching)
	case s.fetching == nil && time.Since(s.tried) >= keysPause:
		s.fetch()
	}
	if key = s.lookup(method, id); key != nil {
		return key, s.fetches, nil
	}
	if s.keys == nil {
		return nil, 0, wire.Errorf(wire.Overloaded, "the issuer's keys cannot be had now; try again in a moment")
	}
	return nil, 0, wire.Errorf(wire.Unauthorized, "the token's key is none of its issuer's, or not for %.20q", method)
}

// version implements keyFinder.
func (s *keySet) version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.fetched) >= keysFresh {
		return 0
	}
	return s.fetches
}

// lookup finds a key for an algorithm: by its id, or the only one there is. s.mu is held.
func (s *keySet) lookup(method, id string) any {
	if time.Since(s.fetched) >= keysStale {
		s.keys = nil
	}
	for _, k := range s.keys {
		if (k.id == id || id == "" && len(s.keys) == 1) && slices.Contains(k.methods, method) {
			return k.key
		}
	}
	return nil
}

// wait lets go of s.mu until a request has ended.
func (s *keySet) wait(ended <-chan struct{}) {
	s.mu.Unlock()
	defer s.mu.Lock()
	<-ended
}

// fetch asks the issuer, and lets go of s.mu meanwhile. Its caller waits, others use
// what they know; so nothing has to run in the background.
func (s *keySet) fetch() {
	s.tried, s.fetching = time.Now(), make(chan struct{})
	s.mu.Unlock()
	keys, err := s.request()
	s.mu.Lock()
	close(s.fetching)
	s.fetching = nil
	if err != nil {
		s.log.Warn("the keys of an issuer of tokens cannot be had; those known stay", "url", s.url, "known", len(s.keys), "err", err)
		return
	}
	s.keys, s.fetched = keys, time.Now()
	s.fetches++
}

func (s *keySet) request() ([]publicKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keysTime) // whoever hangs up must not spoil it for others
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("it sends more than %d bytes", maxKeySet)
	}
	return parseKeySet(text)
}

// jwk is a key as RFC 7517 writes it.
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	Curve string `json:"crv"`
	N     string `json:"n"`
	E     string `json:"e"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// parseKeySet takes what can be used of a set: public keys for signatures. Others are
// passed over, because sets contain keys for many purposes.
func parseKeySet(text []byte) ([]publicKey, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("it is no key set: %w", err)
	}
	var keys []publicKey
	for _, j := range set.Keys[:min(len(set.Keys), maxKeys)] {
		key, methods, err := j.public()
		if err != nil || j.Use != "" && j.Use != "sig" || len(j.ID) > maxKeyID {
			continue
		}
		if j.Alg != "" {
			methods = slices.DeleteFunc(methods, func(m string) bool { return m != j.Alg })
		}
		if !slices.ContainsFunc(keys, func(k publicKey) bool { return k.id == j.ID }) && len(methods) > 0 {
			keys = append(keys, publicKey{j.ID, methods, key})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("it contains no key that could be used")
	}
	return keys, nil
}

// public is the key, and the algorithms that it may be used with.
func (j jwk) public() (key any, methods []string, err error) {
	switch j.Type {
	case "RSA":
		key, err = j.rsa()
		return key, strings.Fields("RS256 RS384 RS512 PS256 PS384 PS512"), err
	case "EC":
		key, methods, err = j.ec()
		return key, methods, err
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(j.X)
		if err != nil || j.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, nil, errors.New("no Ed25519 key")
		}
		return ed25519.PublicKey(x), []string{"EdDSA"}, nil
	}
	return nil, nil, fmt.Errorf("keys of type %.20q are not for signatures that anybody can check", j.Type)
}

func (j jwk) rsa() (*rsa.PublicKey, error) {
	n, err1 := base64.RawURLEncoding.DecodeString(j.N)
	e, err2 := base64.RawURLEncoding.DecodeString(j.E)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	if exponent := new(big.Int).SetBytes(e); exponent.BitLen() < 32 {
		key.E = int(exponent.Int64())
	}
	if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA || key.E < 3 || key.E%2 == 0 {
		return nil, errors.New("no RSA key of a proper size")
	}
	return key, nil
}

func (j jwk) ec() (*ecdsa.PublicKey, []string, error) {
	curves := map[string]struct {
		curve  elliptic.Curve
		method string
	}{"P-256": {elliptic.P256(), "ES256"}, "P-384": {elliptic.P384(), "ES384"}, "P-521": {elliptic.P521(), "ES512"}}
	c, ok := curves[j.Curve]
	if !ok {
		return nil, nil, fmt.Errorf("curve %.20q is not known", j.Curve)
	}
	x, err1 := base64.RawURLEncoding.DecodeString(j.X)
	y, err2 := base64.RawURLEncoding.DecodeString(j.Y)
	size := (c.curve.Params().BitSize + 7) / 8
	if err := errors.Join(err1, err2); err != nil || len(x) != size || len(y) != size {
		return nil, nil, errors.New("no point of the curve")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(c.curve, append(append([]byte{4}, x...), y...)) // on the curve, or an error
	return key, []string{c.method}, err
}

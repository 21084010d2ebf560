package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// key makes an API key in a file.
func key(t *testing.T, file, name, role string) string {
	t.Helper()
	code, text := output(t, nil, "key", "add", name, "--role", role, "--file", file)
	if code != 0 || !strings.HasPrefix(text, "dk_") {
		t.Fatalf("key add: %d %s", code, text)
	}
	return strings.TrimSpace(text)
}

// output runs the program, and returns its exit status and all it writes.
func output(t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	need(t, "ORT_LIBRARY")
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), env...)
	text, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func TestE2EWhoAsks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	alice, bob := key(t, file, "alice", "stream"), key(t, file, "bob", "admin")
	p := start(t, []string{"DETECTIONS_API_KEYS=" + file}, "--log-level", "debug", "--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0")
	p.await("engine ready")
	hub := strings.Replace(p.url, "[::]", "127.0.0.1", 1)
	hub = strings.Replace(hub, "0.0.0.0", "127.0.0.1", 1)
	detect := func(env ...string) (int, string) {
		return output(t, env, "detect", "--hub", hub, "--every", "50", "--format", "ndjson", "--quiet", media(t, "people.mp4"))
	}
	if code, text := detect(); code != 1 || !strings.Contains(text, "wants to know who asks") {
		t.Errorf("without a key: %d %s", code, text)
	}
	if code, text := detect("DETECTIONS_TOKEN=" + alice); code != 0 || !strings.Contains(text, `"outcome":"done"`) {
		t.Errorf("by the environment: %d %s", code, text)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(alice+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, text := detect("DETECTIONS_TOKEN_FILE=" + token); code != 0 {
		t.Errorf("by a file: %d %s", code, text)
	}
	get := func(url, token string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		text, _ := io.ReadAll(a.Body)
		return a.StatusCode, string(text)
	}
	var list struct{ Sessions []struct{ Principal string } }
	if code, text := get(hub+"/v1/sessions", bob); code != 200 || json.Unmarshal([]byte(text), &list) != nil || len(list.Sessions) != 2 || list.Sessions[0].Principal != "key:alice" {
		t.Errorf("the admin sees %d %s", code, text)
	}
	for _, c := range []struct {
		url, token string
		want       int
	}{
		{hub + "/metrics", "", 401}, {hub + "/metrics", alice, 403}, {hub + "/metrics", bob, 200}, {hub + "/debug/pprof/", bob, 404}, {hub + "/readyz", "", 200},
	} {
		if code, text := get(c.url, c.token); code != c.want {
			t.Errorf("%s: %d %s", c.url, code, text)
		}
	}
	admin := p.await("metrics and profiles")["url"].(string)
	for path, words := range map[string]string{"/metrics": "detections_sessions", "/debug/pprof/goroutine?debug=1": "goroutine profile", "/debug/pprof/cmdline": ""} {
		if code, text := get(admin+path, ""); code != 200 && words != "" || !strings.Contains(text, words) || words == "" && code == 200 && strings.Contains(text, "serve") {
			t.Errorf("%s: %d %.100s", path, code, text)
		}
	}
	if p := run(t, nil, "key", "revoke", "alice", "--file", file); p.exit() != 0 {
		t.Error(p.log())
	}
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if code, _ := get(hub+"/v1/sessions", alice); code == 401 {
			break
		}
		if time.Since(begun) > patience {
			t.Fatal("a revoked key is still taken")
		}
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	for _, secret := range []string{alice, bob} {
		if strings.Contains(p.log(), secret) {
			t.Error("the log has a key")
		}
	}
}

func TestE2EWhoMayListen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		words string
		args  []string
	}{
		"everywhere":       {"can be reached from other machines: authentication is required", []string{"--listen", "0.0.0.0:0"}},
		"required":         {"nobody to let in", []string{"--auth", "required"}},
		"none and keys":    {"auth: none, but there are API keys", []string{"--auth", "none", "--api-keys", file}},
		"no such keys":     {"no such file", []string{"--api-keys", file + "x"}},
		"bad keys":         {"API keys: line 1", []string{"--api-keys", file}},
		"no audience":      {"jwt-audience", []string{"--jwt-issuer", "a", "--jwt-secret-file", file}},
		"negative age":     {"jwt-max-age", []string{"--jwt-max-age", "-1s"}},
		"short secret":     {"at least 32", []string{"--jwt-issuer", "a", "--jwt-audience", "b", "--jwt-secret-file", file}},
		"no key set":       {"one URL for each", []string{"--jwt-issuer", "a,b", "--jwt-audience", "b", "--jwks-url", "https://a.example.org"}},
		"plain key set":    {"expected an https URL", []string{"--jwt-issuer", "a", "--jwt-audience", "b", "--jwks-url", "http://a.example.org"}},
		"half of TLS":      {"both or none", []string{"--tls-cert", file}},
		"no certificate":   {"tls-cert, tls-key", []string{"--tls-cert", file, "--tls-key", file}},
		"admin everywhere": {"admin-listen", []string{"--admin-listen", "0.0.0.0:0"}},
		"no proxy":         {"trusted-proxy: expected an address", []string{"--trusted-proxy", "here"}},
	} {
		p := run(t, nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--providers", "cpu"}, c.args...)...)
		if code := p.exit(); code != 2 || !strings.Contains(p.log(), c.words) {
			t.Errorf("%s: exit status %d, %s", name, code, p.log())
		}
	}
	p := start(t, nil)
	p.await("authentication is off: every user of this machine may use the hub; --api-keys or --jwt-issuer turn it on")
	p = start(t, nil, "--listen", "0.0.0.0:0", "--auth", "none")
	p.await("authentication is waived by --auth none: whoever reaches this address may use the hub and see everybody's results")
	hub := "http://127.0.0.1:" + p.url[strings.LastIndex(p.url, ":")+1:]
	if a := p.curl(hub + "/metrics"); a[0].Status != 404 {
		t.Errorf("metrics are open to the network: %+v", a)
	}
}

// certify writes a certificate for 127.0.0.1 with a serial number.
func certify(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestE2ECertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, secret := certify(t, dir, 1)
	p := start(t, nil, "--tls-cert", cert, "--tls-key", secret)
	if !strings.HasPrefix(p.url, "https://") {
		t.Fatalf("it serves %s", p.url)
	}
	p.await("engine ready")
	serial := func() int64 {
		c, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if s := c.ConnectionState(); s.NegotiatedProtocol != "h2" || s.Version < tls.VersionTLS12 {
			t.Errorf("%q, version %x", s.NegotiatedProtocol, s.Version)
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if serial() != 1 {
		t.Error("another certificate")
	}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(p.url, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	d := run(t, []string{"SSL_CERT_FILE=" + cert}, "detect", "--hub", p.url, "--every", "50", media(t, "people.mp4"))
	if code := d.exit(); code != 0 {
		t.Errorf("over TLS: %d %s", code, d.log())
	}
	certify(t, dir, 2)
	for begun := time.Now(); serial() != 2; time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatal("the certificate is not read again")
		}
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if serial() != 2 {
		t.Error("a broken file is in force")
	}
}

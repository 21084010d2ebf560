package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"detections/session/wire"
)

// written makes a file of keys for names with a role.
func written(t *testing.T, path string, names ...string) (texts []string) {
	t.Helper()
	var keys []Key
	for _, n := range names {
		k, text, err := NewKey(n, "stream")
		if err != nil {
			t.Fatal(err)
		}
		keys, texts = append(keys, k), append(texts, text)
	}
	if err := WriteKeys(path, keys); err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestKeysComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys")
		old := written(t, path, "alice", "bob")
		file, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(file), old[0]) {
			t.Fatalf("the file has the key itself: %v", err)
		}
		k, err := OpenKeys(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		check := func(text, want string) {
			t.Helper()
			id, err := k.identify(text)
			if id.Principal != want || want == "" && wire.AsError(err).Code != wire.Unauthorized {
				t.Errorf("%+v, %v, want %q", id, err, want)
			}
		}
		check(old[0], "key:alice")
		check(old[0]+"x", "")
		next := written(t, path, "carol")
		check(old[0], "key:alice") // for a second
		time.Sleep(lookEvery)
		check(old[0], "")
		check(next[0], "key:carol")
		if err := os.WriteFile(path, []byte("carol stream"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		check(next[0], "key:carol") // half a file is none
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookEvery)
		check(next[0], "")
	})
}

func TestFilesOfKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	hash := strings.Repeat("ab", 32)
	for text, ok := range map[string]bool{
		"alice stream " + hash + "\n": true, "# note\n\nalice read " + hash + " 2026-01-01 more\n": true, "": true,
		"alice": false, "alice boss " + hash: false, "al/ice stream " + hash: false, "alice stream " + hash[2:]: false,
		"alice stream dk_THISISTHEKEYITSELF": false, strings.Repeat("a", 65) + " stream " + hash: false, "alice stream " + hash + "00": false,
	} {
		_, err := parseKeys([]byte(text))
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "THISISTHEKEY") {
			t.Errorf("%q: %v", text, err)
		}
	}
	written(t, path, "alice")
	if err := os.Chmod(path, 0o620); err != nil { //nolint:gosec // that is the point
		t.Fatal(err)
	}
	if _, err := OpenKeys(path, nil); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a file that others can write: %v", err)
	}
	if _, err := OpenKeys(path+"x", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, c := range []Config{
		{},
		{Issuers: []Issuer{{Name: "i", Secret: make([]byte, 32)}}},
		{Audience: []string{""}, Issuers: []Issuer{{Name: "i", Secret: make([]byte, 32)}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "i", Secret: make([]byte, 31)}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "i"}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "i", Secret: make([]byte, 32), JWKS: "https://a.example.org"}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "key:i", Secret: make([]byte, 32)}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "i#j", Secret: make([]byte, 32)}}},
		{Audience: []string{"a"}, Issuers: []Issuer{{Name: "i", Secret: make([]byte, 32)}, {Name: "i", Secret: make([]byte, 32)}}},
	} {
		if a, err := New(c); err == nil {
			t.Errorf("%+v makes %v", c, a)
		}
	}
}

func TestTicketsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Authenticator{}
		issue := func(who string) string {
			text, err := a.Ticket(Identity{Principal: who, Roles: Read})
			if err != nil {
				return ""
			}
			return text
		}
		for range maxTicketsOf {
			issue("greedy")
		}
		if issue("greedy") != "" || issue("other") == "" {
			t.Error("one can take all tickets, or none can have any")
		}
		time.Sleep(TicketTime - time.Second)
		late := issue("late")
		time.Sleep(time.Second)
		if issue("greedy") == "" {
			t.Error("old tickets count for ever")
		}
		if id, err := a.tickets.use(late); err != nil || id.Principal != "late" {
			t.Errorf("%+v, %v", id, err)
		}
		stale := issue("late")
		time.Sleep(TicketTime)
		if id, err := a.tickets.use(stale); err == nil {
			t.Errorf("a ticket that has expired: %+v", id)
		}
		if n := len(a.tickets.open) + len(a.tickets.queue) + len(a.tickets.count); n != 0 {
			t.Errorf("%d things are remembered", n)
		}
	})
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/detect/stream": "/detect/stream", "/detect/stream?session=a&ticket=SECRET": "/detect/stream?session=a&ticket=…",
		"/v1/session?TICKET=SECRET&x=1": "/v1/session?TICKET=…&x=1", "/?a": "/?a",
		"/v1/whip/SECRET": "/v1/whip/…", "/v1/whip": "/v1/whip", "/v1/whip/SECRET?session=a": "/v1/whip/…?session=a",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

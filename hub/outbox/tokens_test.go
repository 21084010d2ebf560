package outbox_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
)

func TestATokenFileIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		s := &outboxtest.Service{Tokens: func(token string) bool { return token == "new" }}
		r := newRig(t, s, outbox.ServiceConfig{Tokens: outbox.TokenFile(path)})
		r.start()
		r.add("a", "d.")
		time.Sleep(time.Minute) // there is none
		for _, token := range []string{"old\n", "new\n"} {
			if n := len(s.Events("a")); n != 0 {
				t.Fatalf("%d events with a bad token", n)
			}
			if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		r.stored("a", 1, 2)
		if n := len(r.Letters()); n != 0 {
			t.Errorf("%d dead letters", n)
		}
	})
}

// office gives tokens by the OAuth 2 client credentials grant, and knows which are good.
type office struct {
	life int // seconds

	mu     sync.Mutex
	issued int
	until  time.Time
}

func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if id, secret, _ := r.BasicAuth(); r.FormValue("grant_type") != "client_credentials" || id != "hub" || secret != "secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	o.issued++
	o.until = time.Now().Add(time.Duration(o.life) * time.Second)
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":%d}`, o.issued, o.life)
}

func (o *office) good(token string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return token == fmt.Sprintf("t%d", o.issued) && time.Now().Before(o.until)
}

func (o *office) revoke() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.until = time.Time{}
}

func TestTokensAreRefreshedBeforeTheyExpireAndWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &office{life: 300}
		url, client := outboxtest.Connect(t, o)
		tokens := outbox.NewClientCredentials(url, "hub", "secret", nil, client)
		s := &outboxtest.Service{Tokens: o.good}
		r := newRig(t, s, outbox.ServiceConfig{Tokens: tokens})
		r.start()
		for range 60 { // an hour
			r.add("a", "d")
			r.flush()
			time.Sleep(time.Minute)
		}
		if st := r.State(); st.Retried != 0 || len(s.Deliveries()) != 60 || o.issued != 12 {
			t.Errorf("%d requests, %d tokens, state %+v", len(s.Deliveries()), o.issued, st)
		}
		r.add("a", "d")
		r.flush()
		o.revoke()
		r.add("a", ".")
		r.flush()
		r.stored("a", upTo(62)...)
		if st := r.State(); st.Retried != 0 || len(s.Deliveries()) != 63 {
			t.Errorf("%d requests, state %+v", len(s.Deliveries()), st)
		}
	})
}

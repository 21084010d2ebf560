package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"detections/hub/outbox"
)

// outboxHub is as much of a hub as the commands talk to.
func outboxHub(t *testing.T, asked *string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/outbox", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(struct {
			outbox.State
			List []outbox.Letter `json:"list"`
		}{
			outbox.State{URL: "http://annotations", Breaker: outbox.HalfOpen, Sessions: 2, Events: 30, Oldest: 90, Letters: 1, Limit: 1000},
			[]outbox.Letter{{Key: "a:e:1", Status: 422, Reason: "422 Unprocessable Entity: no such media", Attempts: 2, At: time.Unix(0, 0).UTC()}},
		})
	})
	mux.HandleFunc("POST /v1/outbox/retry", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*asked = string(body)
		_ = json.NewEncoder(w).Encode(outbox.Replayed{Delivered: 3, Refused: strings.Count(*asked, "bad")})
	})
	mux.HandleFunc("POST /v1/outbox/drop", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"detail":"this hub has no Annotations service"}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	return server.URL
}

func TestTheOutboxCommands(t *testing.T) {
	var asked string
	hub := outboxHub(t, &asked)
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"list", 0, "breaker half open, 30 events of 2 sessions to deliver, waiting for 1m30s"},
		{"list", 0, "a:e:1  1970-01-01T00:00:00Z  2         422 Unprocessable Entity: no such media"},
		{"list --format json", 0, `"breaker":"half_open"`},
		{"list --format xml", exitUsage, "expected text or json"},
		{"retry --all", 0, "3 delivered, 0 refused again"},
		{"retry a:e:1 bad", exitFailed, "3 delivered, 1 refused again"},
		{"retry", exitUsage, "expected the keys"},
		{"retry --all a:e:1", exitUsage, "expected the keys"},
		{"drop a:e:1", exitFailed, "this hub has no Annotations service"},
	} {
		var out strings.Builder
		args := append([]string{"outbox"}, strings.Fields(c.args)...)
		if status := run(append(args, "--hub", hub), &out, &out); status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", c.args, status, c.status, c.want, out.String())
		}
	}
	if want := `{"all":false,"keys":["a:e:1","bad"]}`; asked != want {
		t.Errorf("asked %s, want %s", asked, want)
	}
	var out strings.Builder
	if status := run([]string{"outbox", "list", "--hub", "http://127.0.0.1:1"}, &out, &out); status != exitNoHub {
		t.Errorf("status %d without a hub: %s", status, fmt.Sprint(&out))
	}
}

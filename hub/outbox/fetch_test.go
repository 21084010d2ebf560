package outbox_test

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"detections/hub/outbox"
	"detections/hub/outbox/outboxtest"
)

// film is media of n bytes that all differ from their neighbours.
func film(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func clientOf(t *testing.T, s *outboxtest.Service, c outbox.ServiceConfig) *outbox.Annotations {
	t.Helper()
	c.URL, c.HTTP = outboxtest.Connect(t, s)
	a, err := outbox.NewAnnotations(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cuts break the first connections after so many bytes.
func cuts(after ...int) func(int) int {
	return func(n int) int {
		if n < len(after) {
			return after[n]
		}
		return -1
	}
}

func TestMediaIsReadAcrossBreaks(t *testing.T) {
	for name, m := range map[string]outboxtest.Media{
		"with ranges":        {ETag: `"v1"`},
		"with weak tags":     {ETag: `W/"v1"`},
		"without tags":       {},
		"without ranges":     {ETag: `"v1"`, Whole: true},
		"with neither of it": {Whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m.Name, m.Body = "söt.mp4", film(300_000)
				s := &outboxtest.Service{Cut: cuts(70_000, 0, 100_000, 299_999)}
				s.PutMedia("a/b", m)
				got, err := clientOf(t, s, outbox.ServiceConfig{}).Fetch(t.Context(), "a/b", 0, "")
				if err != nil {
					t.Fatal(err)
				}
				defer got.Close()
				body, err := io.ReadAll(got)
				if err != nil || !bytes.Equal(body, m.Body) {
					t.Errorf("%d bytes, %v", len(body), err)
				}
				if got.Size != 300_000 || got.Name != "söt.mp4" || got.Type != "video/mp4" || got.ETag != m.ETag || s.Fetches() < 3 {
					t.Errorf("%+v after %d requests", got, s.Fetches())
				}
			})
		})
	}
}

func TestMediaIsReadFromAByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{}
		s.PutMedia("a", outboxtest.Media{ETag: `"v1"`, Body: film(1000)})
		a := clientOf(t, s, outbox.ServiceConfig{})
		for _, from := range []int64{1, 999, 1000} {
			m, err := a.Fetch(t.Context(), "a", from, `"v1"`)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(m); err != nil || !bytes.Equal(body, film(1000)[from:]) || m.Size != 1000 {
				t.Errorf("from %d: %d bytes of %d, %v", from, len(body), m.Size, err)
			}
			_ = m.Close()
		}
		if _, err := a.Fetch(t.Context(), "a", 5, `"v0"`); !errors.Is(err, outbox.ErrMediaChanged) {
			t.Errorf("with another tag: %v", err)
		}
		if _, err := a.Fetch(t.Context(), "a", 1001, `"v1"`); !errors.Is(err, outbox.ErrMediaChanged) {
			t.Errorf("behind its end: %v", err)
		}
	})
}

func TestMediaThatChangesIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Cut: cuts(400)}
		s.PutMedia("a", outboxtest.Media{ETag: `"v1"`, Body: film(1000)})
		m, err := clientOf(t, s, outbox.ServiceConfig{}).Fetch(t.Context(), "a", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		s.PutMedia("a", outboxtest.Media{ETag: `"v2"`, Body: film(1000)})
		if n, err := io.Copy(io.Discard, m); !errors.Is(err, outbox.ErrMediaChanged) || n != 400 {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestMediaErrorsHaveTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Tokens: func(token string) bool { return token == "good" }}
		s.PutMedia("a", outboxtest.Media{Body: film(10)})
		for _, c := range []struct {
			id    string
			token outbox.StaticToken
			want  error
		}{
			{"a", "good", nil},
			{"b", "good", outbox.ErrNoMedia},
			{"..", "good", outbox.ErrNoMedia},
			{"a", "bad", outbox.ErrMediaForbidden},
			{"a", "", outbox.ErrMediaForbidden},
		} {
			m, err := clientOf(t, s, outbox.ServiceConfig{Tokens: c.token}).Fetch(t.Context(), c.id, 0, "")
			if !errors.Is(err, c.want) {
				t.Errorf("%q with %q: %v, want %v", c.id, c.token, err, c.want)
			}
			if m != nil {
				_ = m.Close()
			}
		}
	})
}

func TestMediaThatCannotBeReachedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &outboxtest.Service{Cut: func(int) int { return 0 }}
		s.PutMedia("a", outboxtest.Media{Body: film(10)})
		begun := time.Now()
		m, err := clientOf(t, s, outbox.ServiceConfig{}).Fetch(t.Context(), "a", 0, "")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if _, err = io.ReadAll(m); !errors.Is(err, outbox.ErrMediaBroken) || s.Fetches() != 6 || time.Since(begun) > time.Minute {
			t.Errorf("%v after %d requests and %v", err, s.Fetches(), time.Since(begun))
		}
	})
}

// TestMediaOverSockets has real connections break.
func TestMediaOverSockets(t *testing.T) {
	s := &outboxtest.Service{Cut: cuts(1_000_000)}
	s.PutMedia("a", outboxtest.Media{ETag: `"v1"`, Body: film(3_000_000)})
	server := httptest.NewServer(s)
	defer server.Close()
	a, err := outbox.NewAnnotations(outbox.ServiceConfig{URL: server.URL, HTTP: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.Fetch(t.Context(), "a", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if body, err := io.ReadAll(m); err != nil || !bytes.Equal(body, film(3_000_000)) {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

package wire_test

import (
	"errors"
	"testing"

	"detections/session/wire"
)

// Whatever text a client sends, it is a message that is valid, or an error for the client.
func FuzzClient(f *testing.F) {
	for _, s := range []string{
		`{"type":"start","key":"k","media":{"size":1,"sha256":"00","fps":25},"sample":{"fps":2},"detect":{"threshold":0.5,"labels":["a"]}}`,
		`{"type":"resume","session":"s","token":"t","epoch":"e","offset":18446744073709551615}`, `{"type":"watch","session":"s"}`, `{"type":"eof"}`,
		`{"type":"configure","id":"c","sample":{"every":3}}`, `{"type":"cancel"}`, `{"type":"ping","t":[1,{}]}`, `{"type":1}`, `[]`, "{\"type\":\"\xff\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := wire.ParseClient(text)
		if err == nil {
			if m == nil || m.Validate() != nil {
				t.Errorf("%q: %v", text, m)
			}
			return
		}
		if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.BadMessage || e.Message == "" {
			t.Errorf("%q: %v", text, err)
		}
	})
}

package web

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"detections/session/wire"
)

// Whatever body comes as a form, it gives a file that ends, or an error for the client.
func FuzzForm(f *testing.F) {
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../a\"\r\n\r\nbytes\r\n--b--\r\n"))
	f.Add("multipart/form-data; boundary=b", []byte("--b\r\n\r\n--b\r\nContent-Disposition: form-data; name=x\r\n"))
	f.Add("multipart/form-data", []byte("--"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := httptest.NewRequest("POST", "/detect", bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		u, err := openUpload(r)
		if _, ok := errors.AsType[*wire.Error](err); err != nil && !ok {
			t.Errorf("%v", err)
		}
		if err == nil {
			if n, _ := io.Copy(io.Discard, u); n > int64(len(body)) {
				t.Errorf("%d bytes of %d", n, len(body))
			}
		}
	})
}

// Whatever query comes, it is a valid start, or an error for the client.
func FuzzQuery(f *testing.F) {
	f.Add("fps=2&threshold=0.5&labels=a,b&mode=live")
	f.Add("every=-1&all&track=maybe&expires_s=1e99")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("POST", "/detect/video", nil)
		r.URL.RawQuery = query
		m, err := startOf(r.URL.Query())
		if err == nil && m.Validate() != nil {
			t.Errorf("%q makes %+v", query, m)
		}
		if _, ok := errors.AsType[*wire.Error](err); err != nil && !ok {
			t.Errorf("%q: %v", query, err)
		}
	})
}

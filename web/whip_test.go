package web_test

import (
	"io"
	"strings"
	"testing"
)

// A hub without a media port says so; that the endpoint is there can be asked by anyone.
func TestWHIPWithoutAMediaPort(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{})
	res := s.do("OPTIONS", "/v1/whip", nil)
	if res.StatusCode != 204 || res.Header.Get("Accept-Post") != "application/sdp" {
		t.Errorf("OPTIONS: %d %v", res.StatusCode, res.Header)
	}
	for _, c := range [][2]string{{"POST", "/v1/whip"}, {"PATCH", "/v1/whip/x"}, {"DELETE", "/v1/whip/x"}} {
		if res := s.do(c[0], c[1], nil); res.StatusCode != 501 || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d", c[0], res.StatusCode)
		}
	}
	if res := s.do("GET", "/v1/whip", nil); res.StatusCode != 405 || res.Header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("GET: %d, allowed %q", res.StatusCode, res.Header.Get("Allow"))
	}
	metrics, err := io.ReadAll(s.do("GET", "/metrics", nil).Body)
	for _, m := range []string{`{door="POST /v1/whip",status="4xx"} 1`, `{door="POST /v1/whip",status="5xx"} 0`} {
		if !strings.Contains(string(metrics), "detections_requests_total"+m+"\n") {
			t.Errorf("what is not offered is no failure of the hub: no %s (%v)", m, err)
		}
	}
}

package main

import "testing"

func TestTheHealthCheckFindsTheHubOfItsContainer(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"": "", "nonsense": "", "0.0.0.0:8080": "http://127.0.0.1:8080", ":9000": "http://127.0.0.1:9000",
		"[::]:9000": "http://127.0.0.1:9000", "10.0.0.5:80": "http://10.0.0.5:80", "[::1]:80": "http://[::1]:80",
	} {
		if got := hubOfThisMachine(listen); got != want {
			t.Errorf("%q: %q, want %q", listen, got, want)
		}
	}
}

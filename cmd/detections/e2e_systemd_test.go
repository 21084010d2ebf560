package main_test

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestE2ESystemdIsTold what a unit of Type=notify with a watchdog waits for.
func TestE2ESystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	told := func(want string) {
		t.Helper()
		_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
		for b := make([]byte, 256); ; {
			n, err := socket.Read(b)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if string(b[:n]) == want {
				return
			}
		}
	}
	p := run(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=200000"}, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--providers", "cpu")
	told("READY=1")
	told("WATCHDOG=1")
	told("WATCHDOG=1")
	p.signal(syscall.SIGTERM)
	told("STOPPING=1")
	if code := p.exit(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

package web_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"detections/session/wire"
	"detections/web"
)

// line is a connection on which bytes are written by hand.
type line struct {
	net.Conn
	*bufio.Reader
	t *testing.T
}

func (s *house) line(request string) *line {
	s.t.Helper()
	l, err := dialLine(s.t, s.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	l.say(request)
	return l
}

func dialLine(t *testing.T, address string) (*line, error) {
	t.Helper()
	c, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return &line{c, bufio.NewReader(c), t}, c.SetDeadline(time.Now().Add(patience))
}

func (l *line) say(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.Conn, strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) answer() *http.Response {
	l.t.Helper()
	a, err := http.ReadResponse(l.Reader, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return a
}

// Read takes what was buffered first.
func (l *line) Read(p []byte) (int, error) { return l.Reader.Read(p) }

func TestUploadThatBringsTooLittle(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{UploadRate: 10 * piece, Window: 500 * time.Millisecond}})
	// Much at once, then a byte now and then: too few in the next window.
	l := s.line("POST /detect/video HTTP/1.1\nHost: localhost\nAccept: application/x-ndjson\nContent-Length: 100000\n\n" + string(video(8)))
	go func() {
		for {
			time.Sleep(20 * time.Millisecond)
			if _, err := l.Write([]byte(".")); err != nil {
				return
			}
		}
	}()
	_, _ = io.ReadAll(l.answer().Body) // it ends with the connection
	var list struct{ Sessions []shown }
	for len(list.Sessions) == 0 || list.Sessions[0].State != wire.Lingering { // it can be resumed for a while
		s.object(s.get("/v1/sessions"), http.StatusOK, &list)
	}
	s.works()
}

func TestLiveUploadAtItsOwnRate(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{UploadRate: 10, Window: 2 * time.Second}})
	up := s.upload("/detect/video?mode=live", "Accept", "application/x-ndjson")
	for range 40 { // longer than the window, and a hundred times the rate
		up.send(video(1))
		time.Sleep(75 * time.Millisecond)
	}
	up.end()
	if _, end := s.lines(up.answer()); end.Outcome != wire.Done {
		t.Errorf("end: %+v", end)
	}
}

func TestBodiesThatNobodyReadEnd(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{Body: 100 * time.Millisecond}})
	for _, request := range []string{"POST /v1/outbox/retry", "POST /v1/sessions/x/cancel", "POST /v1/tickets", "GET /health", "POST /nowhere", "POST /detect/m"} {
		l := s.line(request + " HTTP/1.1\nHost: localhost\nContent-Length: 5000\n\n{")
		if _, err := io.ReadAll(l); err != nil && !strings.Contains(err.Error(), "reset") { // an answer, and the end
			t.Errorf("%s: %v", request, err)
		}
	}
	s.works()
}

func TestHeadersThatDoNotCome(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{header: time.Second})
	lines := make([]*line, 50)
	for i := range lines {
		lines[i] = s.line("GET /health HTTP/1.1\nHost: localhost\nX-A: ")
	}
	for _, l := range lines { // serve has five seconds, tests have less
		if text, err := io.ReadAll(l); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s %v", text, err)
		}
	}
	big := s.line("GET /health HTTP/1.1\nHost: localhost\nX-A: " + strings.Repeat("a", 32<<10) + "\n\n")
	if a := big.answer(); a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: %s", a.Status)
	}
	s.works()
}

// After a stream of events the next answer on the same connection has its own time.
func TestWriteTimeOfOneAnswerIsNotTheNextOnes(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{Write: 500 * time.Millisecond}})
	l := s.line("GET /v1/sessions/x/results HTTP/1.1\nHost: localhost\n\n")
	_, _ = io.Copy(io.Discard, l.answer().Body)
	time.Sleep(600 * time.Millisecond)
	l.say("GET /health HTTP/1.1\nHost: localhost\n\n")
	if a := l.answer(); a.StatusCode != http.StatusOK {
		t.Errorf("the next answer: %s", a.Status)
	}
}

func TestConnectionsAboveTheLimit(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{Conns: 5}})
	s.Client().CloseIdleConnections()
	held := make([]*line, 5)
	for i := range held {
		held[i] = s.line("GET /livez HTTP/1.1\nHost: localhost\n\n")
		_, _ = io.Copy(io.Discard, held[i].answer().Body)
	}
	more := s.line("GET /health HTTP/1.1\nHost: localhost\n\n")
	if a := more.answer(); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s", a.Status)
	}
	held[0].say("GET /readyz HTTP/1.1\nHost: localhost\n\n")
	if a := held[0].answer(); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the hub is ready at its limit: %s", a.Status)
	}
	for _, h := range held {
		h.Close()
	}
	for { // the hub notices when it reads
		l := s.line("GET /readyz HTTP/1.1\nHost: localhost\n\n")
		if a := l.answer(); a.StatusCode == http.StatusOK {
			break
		}
		l.Close()
	}
	s.works()
}

func TestClientsBehindAProxyAreCountedOneByOne(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{PerAddress: 2, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}}})
	stream := func(via string) int {
		return s.get("/detect/stream", "X-Forwarded-For", via).StatusCode
	}
	for i, c := range []struct {
		via  string
		want int
	}{
		{"203.0.113.7", 200},
		{"203.0.113.7", 200},
		{"203.0.113.7", 429},
		{"198.51.100.1, 203.0.113.7, 10.1.2.3", 429},
		{"203.0.113.7, 198.51.100.1", 200},
		{"2001:db8::1", 200},
		{"2001:db8::2", 200},
		{"2001:db8::3", 429},
		{"2001:db8:0:1::1", 200},
		{"[2001:db8::4]:4711", 429},
	} {
		if got := stream(c.via); got != c.want {
			t.Errorf("%d: %s: %d, want %d", i, c.via, got, c.want)
		}
	}
}

func TestXForwardedForOfStrangersIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newHouse(t, options{web: web.Limits{PerAddress: 1}})
	for range 3 {
		if a := s.get("/detect/stream", "X-Forwarded-For", "203.0.113.7"); a.StatusCode != http.StatusOK {
			t.Errorf("%s", a.Status)
		}
	}
}

func TestOneClientCannotTakeAllConnections(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, options{web: web.Limits{PerPrincipal: 3}}, "greedy stream", "other read")
	for range 2 {
		if a := g.as("greedy stream", "GET", "/detect/stream", nil); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	c, _ := g.socket("/v1/session", "greedy stream")
	g.say(c, `{"type":"start"}`)
	g.problem(g.as("greedy stream", "GET", "/v1/sessions", nil), http.StatusTooManyRequests, wire.Quota, "the limit for one client")
	if a := g.as("other read", "GET", "/v1/sessions", nil); a.StatusCode != http.StatusOK {
		t.Errorf("others suffer: %s", a.Status)
	}
}

// A thousand watchers lose their connections together and come back at once.
func TestManyReconnectAtOnce(t *testing.T) {
	t.Parallel()
	n := 1000
	if testing.Short() {
		n = 100
	}
	s := newHouse(t, options{})
	up, err := s.hub.Start(t.Context(), "local", wire.Start{})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Reader.Close()
	if _, err := up.Feeder.Write(video(5)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	hello := fmt.Appendf(nil, `{"type":"watch","session":%q,"offset":0}`, up.Started.Session)
	connect := func() *websocket.Conn {
		c, _, err := websocket.Dial(ctx, strings.Replace(s.URL, "http", "ws", 1)+"/v1/session", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			t.Error(err)
			return nil
		}
		if err := c.Write(ctx, websocket.MessageText, hello); err != nil {
			t.Error(err)
		}
		if _, text, err := c.Read(ctx); err != nil || !bytes.Contains(text, []byte(`"started"`)) {
			t.Errorf("%s %v", text, err)
		}
		return c
	}
	for round := range 2 {
		begun := time.Now()
		conns := make([]*websocket.Conn, n)
		var group sync.WaitGroup
		for i := range conns {
			group.Go(func() { conns[i] = connect() })
		}
		group.Wait()
		t.Logf("round %d: %d connections in %v", round, n, time.Since(begun).Round(time.Millisecond))
		for _, c := range conns {
			if c != nil {
				_ = c.CloseNow()
			}
		}
	}
	up.Feeder.EOF()
	<-up.Session.Done()
	s.works()
}

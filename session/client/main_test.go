package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/client"
	"detections/session/sessiontest"
	"detections/session/wire"
	"detections/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// piece is how many bytes of the scripted media are one frame.
const piece = 1000

// video is scripted media of n frames.
func video(n int) []byte {
	p := bytes.Repeat([]byte("p"), n*piece)
	p[0] = 'K'
	return p
}

// rig is a hub with everything real but decoding and inference, and a client of it.
type rig struct {
	hub    *hub.Hub
	url    string
	client *client.Client
}

type options struct {
	limits hub.Limits
	cost   time.Duration // of decoding a picture
	config client.Config
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	ai := hub.NewAI(func(context.Context, func(hub.Availability, float64)) (*infer.Batcher, error) {
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{})}})
	}, nil)
	ai.Run(t.Context())
	h, err := hub.New(hub.Config{
		Dir: t.TempDir(), AI: ai, Limits: o.limits,
		Decoders: &sessiontest.Decoders{Config: sessiontest.Config{Unit: piece, Cost: o.cost}},
	})
	if err != nil {
		t.Fatal(err)
	}
	face, err := web.New(web.Config{Hub: h, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(face)
	t.Cleanup(func() {
		server.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		face.Wait()
		if err := ai.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{hub: h, url: server.URL, client: newClient(t, server.URL, o.config)}
}

func newClient(t *testing.T, url string, c client.Config) *client.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c.URL, c.HTTP = url, &http.Client{Transport: transport}
	c.Delay, c.MaxDelay = 5*time.Millisecond, 50*time.Millisecond
	cl, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// detect sends media and closes the session when the test ends.
func detect(t *testing.T, ctx context.Context, c *client.Client, media io.Reader, start wire.Start) *client.Session {
	t.Helper()
	s, err := c.Detect(ctx, media, start)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// journal is everything that a session yields.
type journal struct {
	offsets  []uint64
	frames   []int64
	lost     int
	segments []wire.Segment
	resumed  []client.Resumed
	end      *wire.End
	others   []client.Event
}

// collect takes everything to the end.
func collect(s *client.Session) (l journal) {
	for e := range s.Events() {
		l.add(e)
	}
	return l
}

func (l *journal) add(e client.Event) {
	switch e := e.(type) {
	case *wire.Detections:
		l.offsets, l.frames = append(l.offsets, e.Offset), append(l.frames, e.Frame)
	case *wire.Configured:
		l.offsets = append(l.offsets, e.Offset)
	case *wire.Segment:
		l.offsets, l.segments = append(l.offsets, e.Offset), append(l.segments, *e)
	case *wire.End:
		l.offsets, l.end = append(l.offsets, e.Offset), e
	case *client.Lost:
		l.lost++
	case *client.Resumed:
		l.resumed = append(l.resumed, *e)
	default:
		l.others = append(l.others, e)
	}
}

// once says whether every event came once and in order.
func (l *journal) once(n int) bool {
	for i, o := range l.offsets {
		if o != uint64(i+1) {
			return false
		}
	}
	return len(l.offsets) == n
}

// proxy passes TCP connections on to a hub, and cuts them.
type proxy struct {
	listener net.Listener
	target   string
	quota    int64 // bytes to the hub after which the connection is cut; 0: never
	work     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	taken int
	deaf  bool // connections stay open, and nothing passes
}

func newProxy(t *testing.T, url string, quota int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: url[len("http://"):], quota: quota}
	p.work.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.work.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns, p.taken = append(p.conns, c, up), p.taken+1
		p.mu.Unlock()
		p.work.Go(func() {
			defer p.drop(c, up)
			var n int64
			buf := make([]byte, 4096)
			for p.quota == 0 || n < p.quota {
				k, err := c.Read(buf)
				if err != nil {
					return
				}
				n += int64(k)
				if !p.isDeaf() {
					if _, err := up.Write(buf[:k]); err != nil {
						return
					}
				}
			}
		})
		p.work.Go(func() {
			defer p.drop(c, up)
			_, _ = io.Copy(hole{p, c}, up)
		})
	}
}

// hole passes bytes on unless the proxy is deaf.
type hole struct {
	p *proxy
	w io.Writer
}

func (h hole) Write(b []byte) (int, error) {
	if h.p.isDeaf() {
		return len(b), nil
	}
	return h.w.Write(b)
}

func (p *proxy) isDeaf() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deaf
}

func (p *proxy) setDeaf(deaf bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = deaf
}

// drop resets both sides, as a cable that is pulled does.
func (p *proxy) drop(conns ...net.Conn) {
	for _, c := range conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		c.Close()
	}
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(p.conns...)
	p.conns = nil
}

func (p *proxy) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

var errBroken = errors.New("the disk is on fire")

// pour writes media into a pipe whose other end may be closed.
func pour(w io.Writer, p []byte) { _, _ = w.Write(p) }

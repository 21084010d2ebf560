package ws_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"detections/hub"
	"detections/infer"
	"detections/infer/infertest"
	"detections/session/sessiontest"
	"detections/session/wire"
	"detections/session/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// door is a WebSocket door with everything real behind it but decoding and inference.
type door struct {
	*httptest.Server
	hub     *hub.Hub
	handler *ws.Handler
}

type options struct {
	limits hub.Limits
	price  infertest.Price
	write  time.Duration
	begin  time.Duration
}

func newDoor(t *testing.T, o options) *door {
	t.Helper()
	ai := hub.NewAI(func(context.Context, func(hub.Availability, float64)) (*infer.Batcher, error) {
		return infer.NewBatcher(infer.BatcherConfig{Engines: []infer.Engine{infertest.NewEngine(infertest.Config{Price: o.price})}})
	}, nil)
	ai.Run(t.Context())
	h, err := hub.New(hub.Config{
		Dir: t.TempDir(), Decoders: &sessiontest.Decoders{Config: sessiontest.Config{Unit: piece}}, AI: ai, Limits: o.limits,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := ws.New(ws.Config{
		Hub: h, Message: h.Limits().Message, Write: o.write, Begin: o.begin,
		Caller: func(*http.Request) ws.Caller {
			return ws.Caller{Principal: "tester", Sees: "tester", May: func() error { return nil }}
		},
		Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), wire.AsError(err).Code.Info().HTTP)
		},
	})
	d := &door{httptest.NewUnstartedServer(handler), h, handler}
	d.Listener = narrow{d.Listener}
	d.Start()
	t.Cleanup(func() {
		d.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		handler.Wait()
		if err := ai.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// narrow gives connections small buffers, so that a reader that stops is felt soon.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// piece is how many bytes of the scripted media are one access unit.
const piece = 100

// video is scripted media of n pictures.
func video(n int) []byte { return script(strings.Repeat("K", n)) }

// script is scripted media of these units; see sessiontest.
func script(units string) []byte {
	b := bytes.Repeat([]byte{'.'}, len(units)*piece)
	for i := range len(units) {
		b[i*piece] = units[i]
	}
	return b
}

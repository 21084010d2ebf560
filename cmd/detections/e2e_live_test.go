package main_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"detections/session/client"
	"detections/session/wire"
)

// severed is a connection that breaks in the middle of what is written.
type severed struct {
	net.Conn
	left *atomic.Int64
}

func (s severed) Write(p []byte) (int, error) {
	if left := s.left.Add(-int64(len(p))); left < 0 && left+int64(len(p)) >= 0 {
		n, _ := s.Conn.Write(p[:left+int64(len(p))])
		_ = s.Close()
		return n, net.ErrClosed
	}
	return s.Conn.Write(p)
}

// severing is a client whose connection breaks once, after so many bytes.
func (p *process) severing(t *testing.T, after int) *client.Client {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(after))
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return severed{c, &left}, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{URL: p.url, HTTP: &http.Client{Transport: transport}, Delay: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// held is media of which a part waits for the first result. A hub that has read nothing
// yet has not noticed that a connection broke either: the next one simply begins.
type held struct {
	first, rest bytes.Reader
	found       chan struct{} // closed with the first result
}

func (h *held) Read(p []byte) (int, error) {
	if h.first.Len() > 0 {
		return h.first.Read(p)
	}
	<-h.found
	return h.rest.Read(p)
}

// finds detects in media to its end. What lies behind hold bytes comes once there is a result.
func finds(t *testing.T, c *client.Client, p []byte, hold int, start wire.Start) (results []wire.Detections, segments []wire.Segment, end *wire.End) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	media := &held{first: *bytes.NewReader(p[:hold]), rest: *bytes.NewReader(p[hold:]), found: make(chan struct{})}
	found := sync.OnceFunc(func() { close(media.found) })
	s, err := c.Detect(ctx, media, start)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer found()
	for e := range s.Events() {
		switch e := e.(type) {
		case *wire.Detections:
			results = append(results, *e)
			found()
		case *wire.Segment:
			segments = append(segments, *e)
		case *wire.End:
			end = e
		}
	}
	if err := s.Err(); err != nil {
		t.Errorf("%v; end %+v", err, end)
	}
	return results, segments, end
}

// TestE2ELiveStreamsGoOnInTheMiddle breaks the connection of live streams. The client
// has only what its recorder goes on to write, and makes a stream of that which can be
// decoded by itself.
func TestE2ELiveStreamsGoOnInTheMiddle(t *testing.T) {
	p := serve(t)
	for _, c := range []struct {
		name   string
		at     float64 // the share of the file after which the connection breaks
		every  int
		lost   int64 // frames, at most
		noTime bool
	}{
		{"people-frag.mp4", 0.4, 11, 26, false},
		{"people.mkv", 0.4, 11, 26, false},
		{"people-vp8.webm", 0.45, 11, 52, false}, // a cluster is five seconds
		{"people.ts", 0.4, 11, 35, false},
		{"people.flv", 0.4, 11, 35, false},
		{"people-vp8.ivf", 0.4, 11, 35, false},
		{"people.h264", 0.4, 11, 35, true},
		{"keys.obu", 0.7, 13, 15, true},
		{"mjpeg.mjpeg", 0.4, 19, 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := read(t, c.name)
			whole, _, _ := finds(t, p.severing(t, 1<<40), file, len(file), wire.Start{Sample: &wire.Sample{Every: c.every}})
			frames := int64(c.every*(len(whole)-1) + 1)
			at := int(c.at * float64(len(file)))
			results, segments, end := finds(t, p.severing(t, at), file, at/2, wire.Start{Mode: wire.Live, BudgetMS: wire.MaxBudget})
			if len(segments) != 1 || len(results) == 0 || end == nil || end.Outcome != wire.Done {
				t.Fatalf("%d segments, %d results, end %+v", len(segments), len(results), end)
			}
			if n := end.Accounting.Decoded; n > frames || n < frames-c.lost {
				t.Errorf("%d of %d frames, a segment from %d on", n, frames, segments[0].Frame)
			}
			last, want := results[len(results)-1], whole[len(whole)-1]
			if got, want := wire.Encode(last.Detections), wire.Encode(want.Detections); !bytes.Equal(got, want) {
				t.Errorf("the last frame has %s, not %s", got, want)
			}
			if last.PTS != want.PTS && !c.noTime {
				t.Errorf("the last frame is at %v, not %v", last.PTS, want.PTS)
			}
		})
	}
}

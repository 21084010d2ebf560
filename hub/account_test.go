package hub_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"detections/hub"
	"detections/infer/infertest"
	"detections/session"
	"detections/session/sessiontest"
	"detections/session/wire"
)

// sum adds up accountings.
func sum(all ...wire.Accounting) wire.Accounting {
	total := session.NoFrames()
	for _, a := range all {
		total.Decoded += a.Decoded
		total.Inferred += a.Inferred
		total.Skipped += a.Skipped
		total.Pending += a.Pending
		for _, m := range []struct{ to, from map[string]int64 }{{total.Dropped, a.Dropped}, {total.Failed, a.Failed}, {total.Undecoded, a.Undecoded}} {
			for k, n := range m.from {
				m.to[k] += n
			}
		}
	}
	return total
}

func balanced(a wire.Accounting) bool {
	n := a.Inferred + a.Skipped + a.Pending
	for _, m := range []map[string]int64{a.Dropped, a.Failed} {
		for _, v := range m {
			n += v
		}
	}
	return n == a.Decoded
}

// Many sessions of all kinds at once; run with -race.
func TestTotalsAreTheSumOfAllSessionsAndPictures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{
			limits: hub.Limits{Kept: 5}, decoders: sessiontest.Config{Cost: ms},
			engine: infertest.Config{Price: infertest.Price{Run: 5 * ms, Image: ms}, Before: func(e *infertest.Engine, n int) error {
				for i := range n {
					if e.Tag(i)%19 == 3 {
						return errors.New("cannot take this one")
					}
				}
				return nil
			}},
		})
		if a := r.Stats().Accounting; !reflect.DeepEqual(a, session.NoFrames()) {
			t.Errorf("before all: %+v", a)
		}
		var mu sync.Mutex
		var ends []wire.Accounting
		var all sync.WaitGroup
		for n := range 30 {
			all.Go(func() {
				end := visit(r, rand.New(rand.NewPCG(3, uint64(n))))
				mu.Lock()
				defer mu.Unlock()
				ends = append(ends, end.Accounting)
			})
		}
		for n := range 10 {
			all.Go(func() {
				time.Sleep(time.Duration(n) * 20 * ms)
				if _, err := r.Picture(t.Context(), "me", strings.NewReader("Kxx"[n%2:]), nil); (err == nil) != (n%2 == 0) {
					t.Errorf("picture %d: %v", n, err)
				}
			})
		}
		for range 200 {
			time.Sleep(7 * ms)
			if a := r.Stats().Accounting; !balanced(a) {
				t.Errorf("%+v", a)
			}
		}
		all.Wait()
		time.Sleep(time.Second)
		pictures := wire.Accounting{Decoded: 5, Inferred: 5, Undecoded: map[string]int64{"corrupt": 10}}
		if got, want := r.Stats().Accounting, sum(append(ends, pictures)...); !reflect.DeepEqual(got, want) {
			t.Errorf("totals %+v\nsum    %+v", got, want)
		}
		if s := r.Stats(); len(s.States) != 0 || s.Batcher.Images != s.Accounting.Inferred {
			t.Errorf("stats %+v", s)
		}
		r.close()
	})
}

// visit is a session of any kind.
func visit(r *rig, random *rand.Rand) wire.End {
	m := wire.Start{Mode: []wire.Mode{wire.File, wire.Live}[random.IntN(2)], Sample: &wire.Sample{Every: 1 + random.IntN(3)}}
	time.Sleep(time.Duration(random.IntN(300)) * ms)
	c := r.start(m)
	c.send(video(20 + random.IntN(80)))
	time.Sleep(time.Duration(random.IntN(100)) * ms)
	switch random.IntN(4) {
	case 0:
		c.Session.Cancel()
	case 1:
		_, _ = c.Feeder.Write([]byte("pxx!"))
	case 2:
		c.Feeder.CutOff("gone")
	default:
		c.Feeder.EOF()
	}
	return c.end(c.read())
}

func TestSessionsAreListedWithTheirStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, options{})
		var all []client
		for _, v := range []string{"", "i", "K"} {
			c := r.start(wire.Start{Media: wire.Media{Name: v}})
			if v != "" {
				c.send(v)
			}
			all = append(all, c)
			time.Sleep(ms)
		}
		gone := r.start(wire.Start{})
		gone.Feeder.Detach()
		synctest.Wait()
		if s := r.Stats().States; fmt.Sprint(s) != "map[lingering:1 running:1 waiting_for_bytes:1 waiting_for_index:1]" {
			t.Errorf("states %v", s)
		}
		for i, st := range r.Sessions("me")[:3] {
			if st.ID != all[i].Started.Session || st.Media.Name != []string{"", "i", "K"}[i] {
				t.Errorf("session %d: %+v", i, st)
			}
		}
		for _, c := range append(all, gone) {
			c.Reader.Close()
		}
		r.close()
	})
}

func TestPicturesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		body io.Reader
		code wire.Code
	}{
		"empty":      {strings.NewReader(""), wire.UnsupportedMedia},
		"too large":  {strings.NewReader("Kxxxxxxxxxx"), wire.TooLarge},
		"cut short":  {io.MultiReader(strings.NewReader("K"), iotest.ErrReader(io.ErrUnexpectedEOF)), wire.UploadIncomplete},
		"damaged":    {strings.NewReader("xx"), wire.DecodeFailed},
		"no picture": {strings.NewReader("hello"), wire.UnsupportedMedia},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := open(t, options{limits: hub.Limits{Picture: 10}})
				if _, err := r.Picture(t.Context(), "me", c.body, nil); code(err) != c.code {
					t.Errorf("%v", err)
				}
				if _, err := r.Picture(t.Context(), "me", strings.NewReader("Kxxxxxxxxx"), nil); err != nil {
					t.Errorf("the next one: %v", err)
				}
				r.close()
			})
		})
	}
}

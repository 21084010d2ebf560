package main_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"detections/session/client"
)

// probe asks for /health every 10 ms, on new connections and on kept ones in turn.
type probe struct {
	stop    chan struct{}
	done    sync.WaitGroup
	asked   int
	failed  []string
	longest time.Duration // that one took
	gap     time.Duration // between two that were answered well
}

func newProbe(url string) *probe {
	p := &probe{stop: make(chan struct{})}
	p.done.Go(func() { p.run(url) })
	return p
}

func (p *probe) run(url string) {
	c, err := client.New(client.Config{URL: url})
	if err != nil {
		p.failed = append(p.failed, err.Error())
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		begun := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := c.Health(ctx)
		cancel()
		p.asked++
		p.longest = max(p.longest, time.Since(begun))
		if err != nil {
			p.failed = append(p.failed, err.Error())
			continue
		}
		p.gap, last = max(p.gap, time.Since(last)), time.Now()
	}
}

// String is what it has seen.
func (p *probe) String() string {
	return fmt.Sprintf("%d health requests, %d failed, the longest took %v, the longest gap between answers was %v",
		p.asked, len(p.failed), p.longest.Round(time.Millisecond), p.gap.Round(time.Millisecond))
}

// end stops asking; nothing may have failed.
func (p *probe) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	p.done.Wait()
	if len(p.failed) > 0 {
		t.Errorf("%d of %d requests failed: %q", len(p.failed), p.asked, p.failed[:min(5, len(p.failed))])
	}
}

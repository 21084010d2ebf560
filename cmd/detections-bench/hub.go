//go:build cgo

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hub is the program as a child process.
type hub struct {
	cmd  *exec.Cmd
	pid  int
	url  string
	data string
	gone chan error
	// takenUp is how long it took to find the sessions of an earlier process.
	takenUp time.Duration
}

// startTime is how long the program may take until its engines are ready.
const startTime = time.Minute

// startHub starts the program on an empty data directory and waits for its engines.
func startHub(ctx context.Context, o options, args ...string) (*hub, error) {
	data, err := os.MkdirTemp("", "detections-bench-")
	if err != nil {
		return nil, err
	}
	h, err := launchHub(ctx, o, data, args...)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	if err := h.ready(ctx); err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

func (h *hub) ready(ctx context.Context) error {
	return h.await(ctx, "an engine that is ready", func(s health) bool { return s.Availability == "ENABLED" })
}

// launchHub starts the program on a data directory and waits until it serves.
func launchHub(ctx context.Context, o options, data string, more ...string) (_ *hub, err error) {
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--rtc-listen", "127.0.0.1:0", "--data", data, "--log-format", "json", "--ort-library", o.library}, append(more, o.args...)...)
	//nolint:gosec // G204: the operator names the program
	h := &hub{cmd: exec.Command(o.program, args...), data: data, gone: make(chan error, 1)}
	log, err := h.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build builds it)", err)
	}
	h.pid = h.cmd.Process.Pid
	url := make(chan string, 1)
	go func() {
		last := h.readLog(log, url, o.log)
		if err := h.cmd.Wait(); err != nil {
			h.gone <- fmt.Errorf("%s: %w: %s", o.program, err, last)
		}
		close(h.gone)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case h.url = <-url:
	case err := <-h.gone:
		return nil, err
	case <-ctx.Done():
		_ = h.cmd.Process.Kill() // the error says it
		return nil, fmt.Errorf("the program does not serve: %w", ctx.Err())
	}
	return h, nil
}

// readLog finds the address in the log and returns its last line.
func (h *hub) readLog(r io.Reader, url chan<- string, show bool) string {
	last := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		last = lines.Text()
		if show {
			fmt.Fprintln(os.Stderr, last)
		}
		var entry struct{ Msg, URL, Dur string }
		if json.Unmarshal([]byte(last), &entry) != nil {
			continue
		}
		switch entry.Msg {
		case "sessions taken up": // before it serves
			h.takenUp, _ = time.ParseDuration(entry.Dur)
		case "serving":
			url <- entry.URL
		}
	}
	return last
}

func (h *hub) stop() error {
	_ = h.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
	var err error
	select {
	case err = <-h.gone:
	case <-time.After(10 * time.Second):
		_ = h.cmd.Process.Kill()
		err = errors.Join(errors.New("the program did not stop within 10 s"), <-h.gone)
	}
	return errors.Join(err, os.RemoveAll(h.data))
}

type health struct {
	Availability string `json:"aiAvailability"`
	Model        string `json:"model"`
	Sessions     int    `json:"sessions"`
}

func (h *hub) health(ctx context.Context) (health, error) {
	var s health
	text, err := h.get(ctx, "/health")
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	return s, err
}

// await waits for a state of the hub.
func (h *hub) await(ctx context.Context, what string, is func(health) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		s, err := h.health(ctx)
		if err == nil && is(s) {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, health is %+v: %w", what, s, errors.Join(ctx.Err(), err))
		}
	}
}

// settled waits until nothing runs, and a moment more for the decoder processes
// that are started ahead.
func (h *hub) settled(ctx context.Context) error {
	err := h.await(ctx, "sessions to end", func(s health) bool { return s.Sessions == 0 })
	time.Sleep(300 * time.Millisecond)
	return err
}

func (h *hub) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %.200s", path, resp.Status, text)
	}
	return text, err
}

// metrics are the sums of the hub's Prometheus metrics by name, labels left out.
func (h *hub) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := h.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		v, _ := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64)
		all[name] += v
	}
	return all, nil
}

// grownSince is how much the metrics have grown.
func (h *hub) grownSince(ctx context.Context, before map[string]float64) (map[string]float64, error) {
	now, err := h.metrics(ctx)
	for k := range now {
		now[k] -= before[k]
	}
	return now, err
}

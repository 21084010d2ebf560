//go:build cgo

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// look is how often the file that curl writes is looked at for the first result.
const look = 2 * time.Millisecond

// curl is one unthrottled upload, as session is, with a client that needs next to
// nothing of the cores: curl writes what it receives into a file, and the file is
// read afterwards.
func (b *bench) curl(ctx context.Context, c *clip) (measured, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	var r measured
	before, err := b.hub.metrics(ctx)
	if err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp("", "detections-bench-curl-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a few files in the system's folder for them
	answer := filepath.Join(dir, "answer")
	//nolint:gosec // G204: the operator names the file
	cmd := exec.CommandContext(ctx, "curl", "-sSfN", "-T", filepath.Join(b.media, c.name), "-H", "Accept: application/x-ndjson", "-o", answer, b.hub.url+"/detect/video")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return r, err
	}
	seen, first, err := b.firstIn(ctx, answer)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return r, fmt.Errorf("curl: %w: %s", err, said.Bytes())
	}
	last, err := b.hub.use()
	if err != nil {
		return r, err
	}
	text, err := os.ReadFile(answer)
	if err != nil {
		return r, err
	}
	if !bytes.Contains(text, []byte(`"outcome":"done"`)) {
		return r, fmt.Errorf("curl: the session did not end well: %.300s", text[max(0, len(text)-300):])
	}
	grown, err := b.hub.grownSince(ctx, before)
	if err != nil {
		return r, err
	}
	return measured{bytes.Count(text, resultPrefix) - seen, last.since(first), grown}, nil
}

// firstIn waits until the file holds results, and says how many and what was used by then.
func (b *bench) firstIn(ctx context.Context, path string) (int, usage, error) {
	for ctx.Err() == nil {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, usage{}, err
		}
		if n := bytes.Count(text, resultPrefix); n > 0 {
			u, err := b.hub.use()
			return n, u, err
		}
		time.Sleep(look)
	}
	return 0, usage{}, ctx.Err()
}

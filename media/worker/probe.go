package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"time"

	"detections/media/worker/sandbox"
)

// Probe starts a process, and tells which sandbox such processes are in. A sandbox
// that cannot be entered as configured is an error.
func (p *Pool) Probe(ctx context.Context) (r sandbox.Report, err error) {
	runtime.LockOSThread() // the process dies with the thread that started it
	defer runtime.UnlockOSThread()
	proc, err := p.cfg.spawn()
	if err != nil {
		return r, fmt.Errorf("decoder process: %w", err)
	}
	defer proc.kill()
	_ = proc.reports.SetReadDeadline(time.Now().Add(startup))
	defer context.AfterFunc(ctx, func() { _ = proc.reports.SetReadDeadline(time.Unix(1, 0)) })()
	b := make([]byte, maxMessage)
	n, err := proc.reports.Read(b)
	if err != nil {
		return r, errors.Join(ctx.Err(), fmt.Errorf("the decoder process %s before it was ready: %s", proc.kill(), proc.last.String()))
	}
	switch b = b[:n]; {
	case n > 2 && b[0] == protocol && b[1] == msgHello:
		err = json.Unmarshal(b[2:], &r)
	case n > 2 && b[0] == protocol && b[1] == msgEnd:
		var e end
		if err = json.Unmarshal(b[2:], &e); err == nil {
			err = errors.New(e.Message)
		}
	default:
		err = errMessage
	}
	if err != nil {
		return r, fmt.Errorf("decoder process: %w", err)
	}
	return r, nil
}

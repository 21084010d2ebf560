package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"detections/session/client"
)

// healthTime is how long a hub may take to say how it is.
const healthTime = 5 * time.Second

func newHealth() *cobra.Command {
	var hub remote
	var format string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say how the hub is, and fail if it is not ready",
		Long: `Say how the hub is. The exit status is 0 only if new work can be sent to it,
so this serves as the health check of a container: 1 it is not ready (yet),
3 it cannot be reached or is no hub.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return &usageError{fmt.Errorf("--format: expected text or json, got %q", format)}
			}
			c, err := client.New(hub.config())
			if err != nil {
				return &usageError{err}
			}
			h, err := askHealth(cmd.Context(), c)
			if err != nil {
				return err
			}
			return sayHealth(cmd.OutOrStdout(), h, format)
		},
	}
	hub.flags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

func sayHealth(w io.Writer, h client.Health, format string) error {
	text := healthLine(h)
	if format == "json" {
		b, err := json.Marshal(h)
		if err != nil {
			return err
		}
		text = string(b)
	}
	if _, err := fmt.Fprintln(w, text); err != nil {
		return err
	}
	if !h.Ready {
		return &exitError{exitFailed, errSaid}
	}
	return nil
}

// healthLine is a hub's health in one line.
func healthLine(h client.Health) string {
	var b strings.Builder
	switch {
	case h.Version == "": // it tells more only to those who may read
		return map[bool]string{true: "ready", false: "not ready"}[h.Ready] + "; the hub says more to who has a token (DETECTIONS_TOKEN, --token-file)"
	case h.Ready:
		fmt.Fprintf(&b, "ready: %s on %s", h.Model, h.Provider)
	default:
		fmt.Fprintf(&b, "not ready: %s", strings.Join(h.NotReady, "; "))
	}
	if h.Percent != nil {
		fmt.Fprintf(&b, " (%.0f %%)", *h.Percent)
	}
	if u := h.Upgrade; u != nil {
		fmt.Fprintf(&b, ", %s is being built", u.To)
		if u.Percent != nil {
			fmt.Fprintf(&b, " (%.0f %%)", *u.Percent)
		}
	}
	fmt.Fprintf(&b, ", %d sessions, version %s", h.Sessions, h.Version)
	return b.String()
}

// askHealth asks a hub how it is, and says what to do if it is not there.
func askHealth(ctx context.Context, c *client.Client) (client.Health, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, healthTime, fmt.Errorf("%w: no answer within %v", client.ErrUnreachable, healthTime))
	defer cancel()
	h, err := c.Health(ctx)
	return h, noHub(c, err)
}

// noHub says what to do about a hub that is not there, or is none.
func noHub(c *client.Client, err error) error {
	why := ""
	if err != nil {
		why = err.Error()
	}
	switch {
	case errors.Is(err, client.ErrUnreachable):
		why = strings.TrimPrefix(why, client.ErrUnreachable.Error()+": ")
		return &exitError{exitNoHub, fmt.Errorf("no hub at %s (%s); start one with 'detections serve', name another with --hub, or do without by 'detect --local'", c.URL(), why)}
	case errors.Is(err, client.ErrNotAHub):
		why = strings.TrimPrefix(why, client.ErrNotAHub.Error()+": ")
		return &exitError{exitNoHub, fmt.Errorf("%s answers, but not as a hub does (%s): it is something else, or too old for this program (version %s)", c.URL(), why, version)}
	}
	return err
}

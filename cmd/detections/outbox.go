package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"detections/hub/outbox"
	"detections/session/client"
)

// outboxTime is how long a hub may take to answer about its outbox; it may be making a
// request for every dead letter.
const outboxTime = 10 * time.Minute

func newOutbox() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outbox",
		Short: "Show what the hub delivers to the Annotations service; retry and drop what was refused",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newOutboxList(), newOutboxPost("retry", "Deliver dead letters again"), newOutboxPost("drop", "Give dead letters up"))
	return cmd
}

func newOutboxList() *cobra.Command {
	var hub remote
	var format string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show how deliveries go, and the dead letters",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return &usageError{fmt.Errorf("--format: expected text or json, got %q", format)}
			}
			text, err := askOutbox(cmd.Context(), hub, http.MethodGet, "v1/outbox", nil)
			if err != nil || format == "json" {
				_, _ = cmd.OutOrStdout().Write(text)
				return err
			}
			return sayOutbox(cmd.OutOrStdout(), text)
		},
	}
	hub.flags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "text", "text or json")
	return cmd
}

func newOutboxPost(verb, short string) *cobra.Command {
	var hub remote
	var all bool
	cmd := &cobra.Command{
		Use:   verb + " (KEY… | --all)",
		Short: short,
		RunE: func(cmd *cobra.Command, keys []string) error {
			if all == (len(keys) > 0) {
				return &usageError{errors.New(verb + ": expected the keys of dead letters, or --all; 'detections outbox list' has them")}
			}
			text, err := askOutbox(cmd.Context(), hub, http.MethodPost, "v1/outbox/"+verb, map[string]any{"keys": keys, "all": all})
			if err != nil {
				return err
			}
			return sayReplayed(cmd.OutOrStdout(), text)
		},
	}
	hub.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	return cmd
}

// askOutbox makes a request about the outbox, and returns the answer's JSON.
func askOutbox(ctx context.Context, hub remote, method, path string, body any) ([]byte, error) {
	c, err := client.New(hub.config())
	if err != nil {
		return nil, &usageError{err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, outboxTime, fmt.Errorf("no answer within %v", outboxTime))
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL(), "/")+"/"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token, err := hub.token(); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	} else if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r) //nolint:gosec // G704: the user names the hub
	if err != nil {
		return nil, noHub(c, fmt.Errorf("%w: %w", client.ErrUnreachable, err))
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	if err != nil {
		return nil, noHub(c, fmt.Errorf("%w: %w", client.ErrUnreachable, err))
	}
	if answer.StatusCode == http.StatusOK {
		return text, nil
	}
	var problem struct{ Detail string }
	if json.Unmarshal(text, &problem) != nil || problem.Detail == "" {
		return nil, noHub(c, fmt.Errorf("%w: %s is answered %s", client.ErrNotAHub, path, answer.Status))
	}
	return nil, errors.New(problem.Detail)
}

func sayOutbox(w io.Writer, text []byte) error {
	var v struct {
		outbox.State
		List []outbox.Letter `json:"list"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("the hub's answer: %w", err)
	}
	fmt.Fprintf(w, "%s: breaker %s, %d events of %d sessions to deliver", v.URL, strings.ReplaceAll(v.Breaker, "_", " "), v.Events, v.Sessions)
	if v.Oldest > 0 {
		fmt.Fprintf(w, ", waiting for %v", time.Duration(v.Oldest*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(w, "\n%d sent, %d requests repeated, %d events refused, %d of at most %d dead letters\n", v.Sent, v.Retried, v.Refused, v.Letters, v.Limit)
	if v.Unpictured > 0 {
		fmt.Fprintf(w, "%d events were delivered without the picture that they were to have\n", v.Unpictured)
	}
	if v.Stalled > 0 {
		fmt.Fprintf(w, "%d sessions wait until dead letters are retried or dropped\n", v.Stalled)
	}
	if v.Error != "" {
		fmt.Fprintf(w, "last failure at %s: %s\n", v.ErrorAt.Format(time.RFC3339), v.Error)
	}
	if len(v.List) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "\nKEY\tREFUSED\tATTEMPTS\tREASON")
	for _, l := range v.List {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", l.Key, l.At.Format(time.RFC3339), l.Attempts, l.Reason)
	}
	return table.Flush()
}

// sayReplayed says what became of dead letters, and fails if not all of it was wanted.
func sayReplayed(w io.Writer, text []byte) error {
	var done outbox.Replayed
	if err := json.Unmarshal(text, &done); err != nil {
		return fmt.Errorf("the hub's answer: %w", err)
	}
	fmt.Fprintf(w, "%d delivered, %d refused again, %d dropped\n", done.Delivered, done.Refused, done.Dropped)
	if len(done.Unknown) > 0 {
		return fmt.Errorf("there is no dead letter with the key %s", strings.Join(done.Unknown, ", "))
	}
	if done.Refused > 0 {
		return &exitError{exitFailed, errSaid}
	}
	return nil
}

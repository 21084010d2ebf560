package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"detections/session/client"
)

// remote is a hub elsewhere, as commands are told of it.
type remote struct {
	url       string
	tokenFile string
}

func (r *remote) flags(cmd *cobra.Command) {
	def := cmp.Or(os.Getenv("DETECTIONS_HUB"), hubOfThisMachine(os.Getenv("DETECTIONS_LISTEN")), defaultHub)
	cmd.Flags().StringVar(&r.url, "hub", def, "`URL` of the hub; also DETECTIONS_HUB")
	cmd.Flags().StringVar(&r.tokenFile, "token-file", os.Getenv("DETECTIONS_TOKEN_FILE"), "`file` with the API key or token for it, read anew for every request; also DETECTIONS_TOKEN_FILE, or the token itself in DETECTIONS_TOKEN")
}

// hubOfThisMachine is where a hub is that listens as this environment says: the health check
// of a container has the hub's own environment.
func hubOfThisMachine(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// config is that of a client of the hub.
func (r *remote) config() client.Config { return client.Config{URL: r.url, Token: r.token} }

// maxTokenFile bounds a file with a token, in bytes.
const maxTokenFile = 16 << 10

// token is what the hub is shown; empty: nothing. It is no argument, which others on
// this machine could see.
func (r *remote) token() (string, error) {
	if r.tokenFile == "" {
		return strings.TrimSpace(os.Getenv("DETECTIONS_TOKEN")), nil
	}
	f, err := os.Open(r.tokenFile)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", err
	}
	if len(text) == 0 {
		return "", fmt.Errorf("%s is empty", r.tokenFile)
	}
	return strings.TrimSpace(string(text)), nil
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"detections/web/auth"
)

// access are the settings of who may use the hub.
type access struct {
	mode       string
	keys       string
	issuers    []string
	jwks       []string
	secretFile string
	audience   []string
	claim      string
	maxAge     time.Duration
}

func (a *access) flags(f *pflag.FlagSet) {
	f.StringVar(&a.mode, "auth", "auto", "whether the hub wants to know who asks: auto, if it listens elsewhere than on this machine, or knows keys or issuers; required; or none, for everybody who reaches it")
	f.StringVar(&a.keys, "api-keys", "", "`file` of API keys, written by 'detections key'; read again when it changes")
	f.StringSliceVar(&a.issuers, "jwt-issuer", nil, "`issuers` whose JSON Web Tokens are taken: the exact iss claims")
	f.StringSliceVar(&a.jwks, "jwks-url", nil, "`URLs` of their public keys, one for each issuer, in the same order")
	f.StringVar(&a.secretFile, "jwt-secret-file", "", "`file` with the secret that the only issuer signs with, instead of public keys; 32 bytes or more")
	f.StringSliceVar(&a.audience, "jwt-audience", nil, "`audience` that tokens must be for: one of these aud claims")
	f.StringVar(&a.claim, "jwt-roles-claim", "roles", "`claim` of a token with the roles read, stream or admin")
	f.DurationVar(&a.maxAge, "jwt-max-age", 24*time.Hour, "for how long a token may be good, from its iat to its exp; others are refused; 0: for any time")
}

// known says whether there are keys or issuers.
func (a *access) known() bool { return a.keys != "" || len(a.issuers) > 0 }

// validate says what makes no sense.
func (a *access) validate() error {
	var errs []error
	if !slices.Contains([]string{"auto", "required", "none"}, a.mode) {
		errs = append(errs, fmt.Errorf("auth: expected auto, required or none, got %q", a.mode))
	}
	if a.mode == "none" && a.known() {
		errs = append(errs, errors.New("auth: none, but there are API keys or issuers; leave one of them out"))
	}
	if a.maxAge < 0 {
		errs = append(errs, fmt.Errorf("jwt-max-age: expected at least 0, got %v", a.maxAge))
	}
	if a.mode == "required" && !a.known() {
		errs = append(errs, errNobody)
	}
	if len(a.issuers) == 0 && (len(a.jwks) > 0 || a.secretFile != "" || len(a.audience) > 0) {
		errs = append(errs, errors.New("jwt-issuer: expected whose tokens are taken"))
	}
	if len(a.issuers) > 0 {
		if len(a.audience) == 0 {
			errs = append(errs, errors.New("jwt-audience: expected who the tokens must be for; without it, tokens for other services would be taken"))
		}
		secret := a.secretFile != "" && len(a.issuers) == 1 && len(a.jwks) == 0
		if !secret && (a.secretFile != "" || len(a.jwks) != len(a.issuers)) {
			errs = append(errs, fmt.Errorf("jwks-url: expected one URL for each of %d issuers, or jwt-secret-file for the only one", len(a.issuers)))
		}
	}
	return errors.Join(errs...)
}

var errNobody = errors.New("authentication is required, but there is nobody to let in; give --api-keys FILE ('detections key add NAME --file FILE' makes one), " +
	"or --jwt-issuer and --jwt-audience with --jwks-url or --jwt-secret-file; or waive it with --auth none")

// authenticator knows who asks at a listener; nil: authentication is off.
func (a *access) authenticator(at net.Addr, log *slog.Logger) (*auth.Authenticator, error) {
	if !a.known() {
		if a.mode != "none" && !isLoopback(at) {
			return nil, &usageError{fmt.Errorf("listen: %s can be reached from other machines: %w", at, errNobody)}
		}
		return nil, nil
	}
	c := auth.Config{Audience: a.audience, RolesClaim: a.claim, MaxAge: a.maxAge, Logger: log}
	var err error
	if a.keys != "" {
		if c.Keys, err = auth.OpenKeys(a.keys, log); err != nil {
			return nil, &usageError{err}
		}
	}
	if c.Issuers, err = a.knownIssuers(); err != nil {
		return nil, &usageError{err}
	}
	found, err := auth.New(c)
	if err != nil {
		return nil, &usageError{err}
	}
	return found, nil
}

// warn says that authentication is off, if it is.
func (a *access) warn(at net.Addr, log *slog.Logger) {
	switch {
	case a.known():
	case isLoopback(at):
		log.Warn("authentication is off: every user of this machine may use the hub; --api-keys or --jwt-issuer turn it on")
	default:
		log.Warn("authentication is waived by --auth none: whoever reaches this address may use the hub and see everybody's results", "address", at.String())
	}
}

func (a *access) knownIssuers() ([]auth.Issuer, error) {
	all := make([]auth.Issuer, len(a.issuers))
	for i, name := range a.issuers {
		all[i].Name = name
		if a.secretFile == "" {
			all[i].JWKS = a.jwks[i]
			continue
		}
		text, err := os.ReadFile(a.secretFile)
		if err != nil {
			return nil, fmt.Errorf("jwt-secret-file: %w", err)
		}
		all[i].Secret = bytes.TrimSpace(text)
	}
	return all, nil
}

// isLoopback says whether an address can be reached from this machine only.
func isLoopback(at net.Addr) bool {
	tcp, ok := at.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

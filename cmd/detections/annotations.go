package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/pflag"

	"detections/hub/outbox"
	"detections/session/wire"
	"detections/web"
)

// annotations are the settings of deliveries to an Annotations service.
type annotations struct {
	url        string
	tokenFile  string
	authURL    string
	clientID   string
	secretFile string
	results    string
	pictures   outbox.PictureRule
}

func (a *annotations) flags(f *pflag.FlagSet) {
	f.StringVar(&a.url, "annotations-url", "", "`URL` of the Annotations service that detections are delivered to; empty: none")
	f.StringVar(&a.results, "annotations-results", string(wire.NonEmpty), "what is delivered: nonempty (frames with something in them, and the end) or all")
	f.StringVar(&a.pictures.Size, "annotations-pictures", outbox.NoPictures, "pictures that are delivered with results: none, thumbnail (320 pixels) or full; media is kept until it is delivered")
	f.StringVar(&a.pictures.When, "annotations-picture-when", outbox.Always, "which frames have a picture: all with a detection that counts, or new: if the sampled frame before had none of that label")
	f.StringSliceVar(&a.pictures.Labels, "annotations-picture-labels", nil, "`labels` of detections that count for that; default: all")
	f.Float64Var(&a.pictures.Confidence, "annotations-picture-confidence", 0.5, "least confidence of a detection that counts for that")
	f.StringVar(&a.tokenFile, "annotations-token-file", "", "`file` with the bearer token for it; read anew for every request")
	f.StringVar(&a.authURL, "annotations-auth-url", "", "`URL` of the OAuth 2 server that gives tokens for it, by client credentials")
	f.StringVar(&a.clientID, "annotations-client-id", "", "the hub's `id` at that server")
	f.StringVar(&a.secretFile, "annotations-client-secret-file", "", "`file` with the hub's secret at that server")
}

// validate says what makes no sense.
func (a *annotations) validate() error {
	var errs []error
	if a.results != string(wire.NonEmpty) && a.results != string(wire.All) {
		errs = append(errs, fmt.Errorf("annotations-results: expected nonempty or all, got %q", a.results))
	}
	if !slices.Contains([]string{outbox.NoPictures, outbox.Thumbnails, outbox.FullSize}, a.pictures.Size) {
		errs = append(errs, fmt.Errorf("annotations-pictures: expected none, thumbnail or full, got %q", a.pictures.Size))
	}
	if !slices.Contains([]string{outbox.Always, outbox.OnArriving}, a.pictures.When) {
		errs = append(errs, fmt.Errorf("annotations-picture-when: expected all or new, got %q", a.pictures.When))
	}
	if c := a.pictures.Confidence; !(c >= 0 && c <= 1) {
		errs = append(errs, fmt.Errorf("annotations-picture-confidence: expected 0 to 1, got %v", c))
	}
	if a.url == "" && (a.tokenFile != "" || a.authURL != "") {
		errs = append(errs, errors.New("annotations-url: expected the URL that the token is for"))
	}
	if a.tokenFile != "" && a.authURL != "" {
		errs = append(errs, errors.New("annotations-token-file and annotations-auth-url: expected one of them"))
	}
	if set := a.authURL != ""; set != (a.clientID != "") || set != (a.secretFile != "") {
		errs = append(errs, errors.New("annotations-auth-url, annotations-client-id and annotations-client-secret-file: expected all or none"))
	}
	return errors.Join(errs...)
}

// outbox is how detections are delivered; nil: they are not.
func (a *annotations) outbox(m *web.Metrics, log *slog.Logger) (*outbox.Config, error) {
	service, err := a.service()
	if service == nil || err != nil {
		return nil, err
	}
	return &outbox.Config{Service: service, Results: wire.Results(a.results), Pictures: a.pictures, OnRequest: m.ObserveDelivery, Logger: log}, nil
}

// service is the client of the Annotations service; nil: there is none.
func (a *annotations) service() (*outbox.Annotations, error) {
	if a.url == "" {
		return nil, nil
	}
	c := outbox.ServiceConfig{URL: a.url}
	switch {
	case a.tokenFile != "":
		c.Tokens = outbox.TokenFile(a.tokenFile)
	case a.authURL != "":
		secret, err := outbox.TokenFile(a.secretFile).Token(context.Background())
		if err != nil {
			return nil, fmt.Errorf("annotations-client-secret-file: %w", err)
		}
		c.Tokens = outbox.NewClientCredentials(a.authURL, a.clientID, secret, nil, nil)
	}
	return outbox.NewAnnotations(c)
}

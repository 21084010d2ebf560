package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"detections/hub/outbox"
	"detections/infer/loader"
)

// modelSource are the settings of where the model comes from.
type modelSource struct {
	classes   string
	poll      time.Duration
	url       string
	path      string
	tokenFile string
	folder    string // of the models that the Loader gave; empty: the data directory's
}

func (m *modelSource) flags(f *pflag.FlagSet) {
	f.StringVar(&m.classes, "classes", "", "`file` with the names, colours and thresholds of the model's classes; default: classes.json beside the model, if there is one")
	f.DurationVar(&m.poll, "model-poll", 10*time.Second, "how often to look for a newer model and other classes; 0: never")
	f.StringVar(&m.url, "loader-url", "", "`URL` of the Loader service that --model names a model of; empty: none. A token for it can be in "+loaderToken)
	f.StringVar(&m.path, "loader-path", loader.DefaultPath, "where the Loader has models, under its URL; {name} stands for the name")
	f.StringVar(&m.tokenFile, "loader-token-file", "", "`file` with the bearer token for the Loader; read anew for every request")
}

// loaderToken is the environment variable with the bearer token for the Loader. It is no
// setting, because a command line can be seen by everyone on a machine.
const loaderToken = "DETECTIONS_LOADER_TOKEN" //nolint:gosec // G101: not the token itself

// validate says what makes no sense together with the model that is asked for.
func (m *modelSource) validate(model string) error {
	var errs []error
	if m.poll < 0 {
		errs = append(errs, fmt.Errorf("model-poll: expected at least 0, got %v", m.poll))
	}
	switch {
	case m.url == "" && m.tokenFile != "":
		errs = append(errs, errors.New("loader-url: expected the URL that the token is for"))
	case m.url != "" && model == "":
		errs = append(errs, errors.New("model: expected the name of a model at loader-url"))
	case m.url != "":
		_, err := m.service(model, "")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// service is the Loader, with what it gave in a folder.
func (m *modelSource) service(model, folder string) (*loader.Service, error) {
	c := loader.ServiceConfig{URL: m.url, Path: m.path, Name: model, Folder: folder}
	if m.tokenFile != "" {
		c.Token = outbox.TokenFile(m.tokenFile).Token
	} else {
		c.Token = outbox.StaticToken(os.Getenv(loaderToken)).Token
	}
	return loader.NewService(c)
}

// source is where the model comes from.
func (s *settings) source() (loader.Source, error) {
	m := &s.from
	src := loader.EmbeddedSource()
	switch {
	case m.url != "":
		service, err := m.service(s.model, cmp.Or(m.folder, filepath.Join(s.data, "models")))
		if err != nil {
			return nil, err
		}
		src = service
	case s.model != "":
		src = loader.Disk(s.model)
	}
	return loader.WithClasses(src, m.classes), nil
}

// file fetches the model, or takes the last one that was fetched if that fails.
func (s *settings) file(ctx context.Context, progress func(loader.Progress)) (loader.File, error) {
	src, err := s.source()
	if err != nil {
		return loader.File{}, err
	}
	f, err := src.Fetch(ctx, "", progress)
	if k, ok := src.(loader.Keeper); ok && err != nil && ctx.Err() == nil {
		if last, lastErr := k.Last(); lastErr == nil {
			return last, nil
		}
	}
	return f, err
}

package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The bounds of golden pictures: they are looked at before every swap.
const (
	MaxGolden      = 32      // pictures
	MaxGoldenList  = 1 << 20 // bytes
	maxPicture     = 16 << 20
	maxAllPictures = 64 << 20
)

// goldenName is the name of a list of golden pictures.
const goldenName = "golden.json"

// golden fetches the golden pictures of a version, which is about to be handed on, and
// puts them beside it. That there are none is no error.
//
//	<sha256>/golden/golden.json   the list
//	<sha256>/golden/<image>       its pictures
func (s *Service) golden(ctx context.Context, sha256 string) error {
	place := s.store.golden(sha256)
	address := s.beside(".golden.json")
	list, err := s.small(ctx, address, "", MaxGoldenList)
	if err != nil {
		return err
	}
	if list.status == http.StatusNotFound {
		return os.RemoveAll(place)
	}
	var pictures []struct{ Image string }
	if err := json.Unmarshal(list.text, &pictures); err != nil {
		return &Error{Reason: Invalid, Err: fmt.Errorf("%s: expected a list of golden pictures: %w", address, err)}
	}
	if len(pictures) > MaxGolden {
		return &Error{Reason: Invalid, Err: fmt.Errorf("%s: %d golden pictures, expected at most %d", address, len(pictures), MaxGolden)}
	}
	next, err := os.MkdirTemp(filepath.Dir(place), ".golden-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(next) //nolint:errcheck // it has another name by then
	left := int64(maxAllPictures)
	for _, p := range pictures {
		n, err := s.picture(ctx, p.Image, next, left)
		if err != nil {
			return err
		}
		left -= n
	}
	if err := os.WriteFile(filepath.Join(next, goldenName), list.text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(place), os.Rename(next, place))
}

// picture fetches one picture into a folder.
func (s *Service) picture(ctx context.Context, image, folder string, left int64) (int64, error) {
	wrong := func(format string, args ...any) error {
		return &Error{Reason: Invalid, Err: fmt.Errorf("golden picture %q: "+format, append([]any{clean(image)}, args...)...)}
	}
	if !filepath.IsLocal(image) || path.Clean(image) != image || strings.Contains(image, `\`) || image == goldenName {
		return 0, wrong("expected a path beside the list, such as golden/street.jpg")
	}
	base, err := url.Parse(s.url)
	if err != nil {
		return 0, err
	}
	a, err := s.small(ctx, base.ResolveReference(&url.URL{Path: image}).String(), "", min(maxPicture, left))
	if err != nil {
		return 0, err
	}
	if a.status != http.StatusOK {
		return 0, wrong("expected it at %s, found nothing (404)", base.ResolveReference(&url.URL{Path: image}))
	}
	to := filepath.Join(folder, filepath.FromSlash(image))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return 0, err
	}
	return int64(len(a.text)), os.WriteFile(to, a.text, 0o600)
}

// golden is the folder of a version's golden pictures.
func (s *store) golden(sha256 string) string { return filepath.Join(s.dir, sha256, "golden") }

// GoldenLists are where the list of golden pictures of a model can be: what the Loader
// gave, or what lies beside the file.
func (f *File) GoldenLists() []string {
	if f.Origin != "" {
		dir, file := filepath.Split(f.Origin)
		return []string{filepath.Join(dir, strings.TrimSuffix(file, filepath.Ext(file))+".golden.json"), filepath.Join(dir, goldenName)}
	}
	if f.Path == "" {
		return nil
	}
	list := filepath.Join(filepath.Dir(f.Path), "golden", goldenName)
	if _, err := os.Stat(list); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return []string{list}
}

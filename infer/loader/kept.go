package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"detections/infer"
)

// Kept are copies of the versions of a model that were in use, so that a session of an
// earlier process can go on with the version that it began with, whatever became of the
// file that it was read from:
//
//	<key>/model.onnx   the file
//	<key>/model.json   its description, and classes.json its classes, if it has some
//	<key>/kept.json    [label]; missing while it has not served
//
// Where the file never changes and is on the same file system, the copy is a link.
type Kept struct{ dir string }

// label is what the files themselves do not say.
type label struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// Model is the key of the model that was recognised in it.
	Model infer.ModelKey `json:"model"`
}

// The bounds of what is kept beside what is in use: so many versions, and all younger
// than that. Sessions end long before.
const (
	keptVersions = 4
	keptTime     = 24 * time.Hour
)

// NewKept keeps versions in a folder, which need not be there yet.
func NewKept(dir string) *Kept { return &Kept{dir} }

func (k *Kept) folder(f *File) string { return filepath.Join(k.dir, f.Key()) }

// Keep makes a copy of a version, unless there is one, and gives its path.
func (k *Kept) Keep(f *File) (path string, err error) {
	dir := k.folder(f)
	path = filepath.Join(dir, "model.onnx")
	if _, err := os.Stat(path); err == nil {
		now := time.Now()
		return path, os.Chtimes(dir, now, now)
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return "", err
	}
	next, err := os.MkdirTemp(k.dir, ".next-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(next) //nolint:errcheck // what is left is collected
	if f.Path == "" || os.Link(f.Path, filepath.Join(next, "model.onnx")) != nil {
		err = os.WriteFile(filepath.Join(next, "model.onnx"), f.Bytes, 0o600)
	}
	if d := f.Description; err == nil && d != nil && len(d.Text()) > 0 {
		err = os.WriteFile(filepath.Join(next, "model.json"), d.Text(), 0o600)
	}
	if d := f.Description; err == nil && d != nil && d.Classes != nil {
		err = os.WriteFile(filepath.Join(next, classesFile), d.Classes.Text(), 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("keep model %s: %w", f.Name, err)
	}
	if err := os.Rename(next, dir); err != nil {
		return "", fmt.Errorf("keep model %s: %w", f.Name, err)
	}
	return path, nil
}

// Serves notes that a version that is kept serves, as this model: it can be found.
func (k *Kept) Serves(f *File, key infer.ModelKey) error {
	text, err := json.Marshal(label{f.Name, f.Version, key})
	if err == nil {
		err = replace(filepath.Join(k.folder(f), "kept.json"), text)
	}
	return err
}

// labels are those of all versions that have served, by their folders.
func (k *Kept) labels() (map[string]label, error) {
	paths, err := filepath.Glob(filepath.Join(escape(k.dir), "*", "kept.json"))
	all := map[string]label{}
	for _, p := range paths {
		text, err := os.ReadFile(p) //nolint:gosec // G304: in the folder of the versions
		if err != nil {
			return nil, err
		}
		var l label
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		all[filepath.Dir(p)] = l
	}
	return all, err
}

// Find gives a version that was kept, verified anew. fs.ErrNotExist: it was not.
func (k *Kept) Find(key infer.ModelKey) (File, error) {
	all, err := k.labels()
	if err != nil {
		return File{}, err
	}
	for dir, l := range all {
		if l.Model != key {
			continue
		}
		path := filepath.Join(dir, "model.onnx")
		f, err := WithClasses(Disk(path), "").Fetch(context.Background(), "", nil)
		if err != nil {
			return File{}, err
		}
		if f.SHA256 != key.SHA256 {
			return File{}, fmt.Errorf("%s is damaged: its sha256 is %s", dir, f.SHA256)
		}
		f.Name, f.Version, f.Path, f.Origin = l.Name, l.Version, path, ""
		now := time.Now()
		return f, os.Chtimes(dir, now, now)
	}
	return File{}, fmt.Errorf("model %.12s is not kept: %w", key.SHA256, fs.ErrNotExist)
}

// Last gives the version that began to serve last, but not the one with this key. fs.ErrNotExist:
// there is none.
func (k *Kept) Last(but string) (File, error) {
	all, err := k.labels()
	if err != nil {
		return File{}, err
	}
	var newest time.Time
	var last infer.ModelKey
	for dir, l := range all {
		st, err := os.Stat(filepath.Join(dir, "kept.json"))
		if err == nil && filepath.Base(dir) != but && st.ModTime().After(newest) {
			newest, last = st.ModTime(), l.Model
		}
	}
	return k.Find(last)
}

func (k *Kept) refusedPath() string { return filepath.Join(k.dir, "refused.json") }

// Refused are the keys of versions that are not to serve again, and why.
func (k *Kept) Refused() map[string]string {
	all := map[string]string{}
	text, err := os.ReadFile(k.refusedPath())
	if err != nil || json.Unmarshal(text, &all) != nil {
		return map[string]string{} // what is lost is found out again
	}
	return all
}

// Refuse notes that a version is not to serve again, or, without a reason, that it may.
func (k *Kept) Refuse(key, why string) error {
	all := k.Refused()
	if all[key] = why; why == "" {
		delete(all, key)
	}
	text, err := json.Marshal(all)
	if err == nil {
		err = os.MkdirAll(k.dir, 0o700)
	}
	if err == nil {
		err = replace(k.refusedPath(), text)
	}
	return err
}

// Collect removes the oldest versions, but none in use.
func (k *Kept) Collect(inUse []infer.ModelKey) error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	labels, err := k.labels()
	if err != nil {
		return err
	}
	var old []fs.FileInfo
	for _, e := range entries {
		used := slices.Contains(inUse, labels[filepath.Join(k.dir, e.Name())].Model)
		if st, err := e.Info(); err == nil && !used && e.IsDir() {
			old = append(old, st)
		}
	}
	slices.SortFunc(old, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var errs []error
	for _, st := range old[min(len(old), keptVersions):] {
		if time.Since(st.ModTime()) > keptTime {
			errs = append(errs, os.RemoveAll(filepath.Join(k.dir, st.Name())))
		}
	}
	return errors.Join(errs...)
}
